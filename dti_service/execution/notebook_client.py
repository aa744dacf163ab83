"""nbclient's client with bounded outputs, forwarded text, and no cell lost to a flood of messages."""

from __future__ import annotations

import asyncio
from queue import Empty
from typing import Any

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import output_from_msg

from dti_service.execution.cell_outputs import CellOutputs
from dti_service.execution.kernel import POLL_S, Kernel
from dti_service.execution.observers import Observer

QUIET_S = 4.0  # without a message for so long after the reply: the end of the outputs was lost


class ExecutionClient(NotebookClient):
    """Executes single cells on a kernel that somebody else starts and ends."""

    def __init__(self, notebook: NotebookNode, kernel: Kernel, observer: Observer, **options: Any) -> None:
        # The wait for outputs after the reply is bounded by QUIET_S, however many there are.
        super().__init__(notebook, raise_on_iopub_timeout=False, iopub_timeout=24 * 3600, **options)
        self.kc = kernel.client
        self.kc.allow_stdin = False
        self.kernel = kernel
        self.observer = observer
        self.cell_outputs = CellOutputs([])

    async def async_execute_cell(
        self,
        cell: NotebookNode,
        cell_index: int,
        execution_count: int | None = None,
        store_history: bool = True,
    ) -> NotebookNode:
        """Raises CellExecutionError, DeadKernelError, CellTimeoutError."""
        try:
            return await super().async_execute_cell(cell, cell_index, execution_count, store_history)
        finally:
            self.cell_outputs.render()

    def process_message(
        self, msg: dict[str, Any], cell: NotebookNode, cell_index: int
    ) -> NotebookNode | None:
        if self.cell_outputs.outputs is not cell.outputs:
            self.cell_outputs = CellOutputs(cell.outputs)
        output = super().process_message(msg, cell, cell_index)
        if msg["msg_type"] == "update_display_data":
            self.cell_outputs.changed = True
        return output

    def output(
        self, outs: list[NotebookNode], msg: dict[str, Any], display_id: str | None, cell_index: int
    ) -> NotebookNode | None:
        hooked = bool(self.output_hook_stack[msg["parent_header"].get("msg_id")])
        if msg["msg_type"] == "stream":
            name, text = msg["content"]["name"], msg["content"]["text"]
            self.observer.printed(name, text)
            if not hooked:
                if self.clear_before_next_output:
                    self._clear(outs, cell_index)
                self.cell_outputs.print(name, text)
                return None
        if self.clear_before_next_output and not hooked:
            self._clear(outs, cell_index)
        output = super().output(outs, msg, display_id, cell_index)
        if output is not None:
            self.cell_outputs.displayed(output)
        return output

    def _clear(self, outs: list[NotebookNode], cell_index: int) -> None:
        outs[:] = []
        self.clear_display_id_mapping(cell_index)
        self.clear_before_next_output = False
        self.cell_outputs.cleared()

    def clear_output(self, outs: list[NotebookNode], msg: dict[str, Any], cell_index: int) -> None:
        super().clear_output(outs, msg, cell_index)
        if not outs:
            self.cell_outputs.cleared()

    def _update_display_id(self, display_id: str, msg: dict[str, Any]) -> None:
        """An output that was left out, or cleared, is not there to be updated."""
        for index, places in self._display_id_map.get(display_id, {}).items():
            places[:] = [place for place in places if place < len(self.nb.cells[index].outputs)]
        super()._update_display_id(display_id, msg)

    async def _async_poll_output_msg(self, parent_msg_id: str, cell: NotebookNode, cell_index: int) -> None:
        quiet_s = 0.0
        while True:
            try:
                message = await self.kernel.client.iopub_channel.get_msg(timeout=1.0)
            except Empty:
                # The kernel drops messages that nobody takes in time, perhaps also the one that says "done".
                quiet_s = (
                    quiet_s + 1.0 if "shell.execute_reply" in cell.metadata.get("execution", {}) else 0.0
                )
                if quiet_s >= QUIET_S:
                    self.log.warning("The end of a cell's outputs was lost.")
                    return
                continue
            quiet_s = 0.0
            if message["parent_header"].get("msg_id") == parent_msg_id:
                try:
                    self.process_message(message, cell, cell_index)
                except CellExecutionComplete:
                    return
            elif message["msg_type"] == "stream":
                # A thread that an earlier cell started.
                self.observer.printed(message["content"]["name"], message["content"]["text"])

    async def _async_poll_kernel_alive(self) -> None:
        while self.kernel.alive:
            await asyncio.sleep(POLL_S)
        if self.task_poll_for_reply is not None:
            self.task_poll_for_reply.cancel()

    async def _async_check_alive(self) -> None:
        if not self.kernel.alive:
            raise DeadKernelError("Kernel died")


def error_output(name: str, message: str) -> NotebookNode:
    """An error as a notebook shows it, for what the kernel could not say itself."""
    content = {"ename": name, "evalue": message, "traceback": [f"{name}: {message}"]}
    return output_from_msg({"header": {"msg_type": "error"}, "content": content})
