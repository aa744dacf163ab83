export function mount(e){ e.textContent='…'; return {dispose(){}} }
