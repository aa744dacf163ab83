export class RunView { constructor(element,{record}) { element.textContent = record.state; } dispose() {} }
