"""One step of gradient descent as one graph of an accelerator."""

import time
import warnings

import torch
from torch import Tensor

from vaekit.core import Batch
from vaekit.training import together
from vaekit.training.compiled import FAILURES, Flat, compiled, is_due, say, shapes_of, tensor_step
from vaekit.training.step import (
    Ahead,
    Eager,
    Noise,
    Pace,
    Step,
    Stepper,
    Trainable,
    adam,
    gradient,
    numbers,
    of_numbers,
    repeatable,
    told,
)

WARMING = 2
"""times that a gradient is computed before it is recorded: libraries allocate what they need at first use"""
UNRECORDED = 2
"""`failed` where not even recording a step succeeded"""
ALIGNED = 64
"""numbers of a flat tensor, at multiples of which parameters begin on an accelerator: its products want addresses so"""
OPTIONS = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe, "deterministic": True}
"""of an accelerator's kernels' shapes those that repeat to the bit, not those that were quickest when tried"""


class Recorded(Stepper):
    """The step as one CUDA graph: what an accelerator does in a step is recorded once and played again at each, with no
    Python between its kernels, of which a small step has dozens of microseconds each. With `compiles` it is the
    compiled step that is recorded, which has a third of the kernels. What cannot be compiled is recorded as it is, and
    what cannot be recorded (a network that waits for a number to leave the accelerator, say) is `Eager`, and says so.

    The first steps, and those of a warm-up, in which the loss changes from step to step, are not recorded. Model and
    objective are taken to stay as they were when it was, and tensors where they are.

    settled    the step from which on the loss is the one that is meant
    """

    def __init__(self, settled: int, compiles: bool) -> None:
        self.settled = settled
        self.compiles = compiles
        self.eager = Eager()
        self.recordings: dict[tuple, Recording] = {}

    def __getstate__(self) -> dict:
        """For pickle: recorded again where it is needed again."""
        return {**vars(self), "recordings": {}}

    def __call__(self, trainable: Trainable, batch: Batch, noise: Noise, pace: Pace, number: int, ahead: Ahead) -> Step:
        """The step of this number."""
        if not self._follows(number):
            return self.eager(trainable, batch, noise, pace, number, ahead)
        shapes = shapes_of(batch, noise)
        if shapes not in self.recordings and not self._record(shapes, trainable, batch, noise):
            return self.eager(trainable, batch, noise, pace, number, ahead)
        return self.recordings[shapes].play(batch, noise, pace, ahead)

    def begins(self, number: int) -> bool:
        """Whether the step of this number is the first that is compiled."""
        return self.compiles and not self.failed and self._follows(number) and not self.recordings

    def _follows(self, number: int) -> bool:
        return self.failed < UNRECORDED and is_due(number, self.settled)

    def _record(self, shapes: tuple, trainable: Trainable, batch: Batch, noise: Noise) -> bool:
        """Make the recording for a shape; whether that succeeded."""
        began = time.monotonic()
        if self.compiles and not self.failed:
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "TensorFloat32")  # advice to be less exact
                    self.recordings[shapes] = CompiledRecording(trainable, batch, noise, self.settled)
                self.seconds = (self.seconds or 0.0) + time.monotonic() - began
                return True
            except FAILURES as error:
                say("without compiling", error)
                self.failed = 1
        try:
            self.recordings[shapes] = Recording(trainable, batch, noise, self.settled)
            return True
        except RuntimeError as error:
            say("without recording its steps", error)
            self.failed = UNRECORDED
            return False


class Recording:
    """A step for batches of one shape, on the accelerator where they are."""

    def __init__(self, trainable: Trainable, batch: Batch, noise: Noise, settled: int) -> None:
        device = batch.x.device
        self.settled = settled
        self.shapes = shapes_of(batch, noise)
        self.batch = Batch(batch.x.clone(), _cloned(batch.mask), _cloned(batch.c))
        self.noise = tuple(each.clone() for each in noise)
        self.pace = torch.zeros(len(Pace._fields), device=device)
        self.given = torch.zeros(len(Pace._fields), pin_memory=True)  # copied from there, nothing waits for it
        self.held: tuple[Batch, Noise] | None = None
        """what the accelerator was already given for the next step"""
        self.graph = torch.cuda.CUDAGraph()
        self.read = torch.cuda.Event()
        stream = torch.cuda.Stream(device)
        before = [buffer.clone() for buffer in trainable.last.buffers()]
        stream.wait_stream(torch.cuda.current_stream(device))
        with repeatable(device):
            with torch.cuda.stream(stream):
                for _ in range(WARMING):
                    self._try(trainable)
                for buffer, value in zip(trainable.last.buffers(), before, strict=True):
                    buffer.copy_(value)
            torch.cuda.current_stream(device).wait_stream(stream)
            with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
                self.names, self.numbers = self._step(trainable)
        self.taken = torch.zeros(len(self.numbers), pin_memory=True)

    def _try(self, trainable: Trainable) -> None:
        """Let everything run once, and change nothing."""
        gradient(trainable, self.batch, self.noise, self.settled)

    def _step(self, trainable: Trainable) -> tuple[list[str], Tensor]:
        """As `Eager`, with no number that leaves the accelerator: whether all is finite is a factor."""
        bound, used = gradient(trainable, self.batch, self.noise, self.settled)
        rate, limit, weight = self.pace.unbind()
        with torch.no_grad():
            names, found = numbers(told(trainable.objective, bound), bound.loss, together.norm(used.gradient), limit)
            scale, finite = found[-2:].unbind()
            adam(used, trainable.adam.betas, rate, grad_scale=1 / scale, found_inf=1 - finite)
            together.follow_on_device(trainable.averages, trainable.parameters, weight * finite)
            trainable.follow()
        return names, found

    def play(self, batch: Batch, noise: Noise, pace: Pace, ahead: Ahead) -> Step:
        """The step on another batch."""
        self.given.numpy()[:] = pace
        self.pace.copy_(self.given, non_blocking=True)
        if self.held is None or self.held[0] is not batch or self.held[1] is not noise:
            self._give(batch, noise)
        self.graph.replay()
        self.taken.copy_(self.numbers, non_blocking=True)
        self.read.record()
        self.held = ahead()  # while the accelerator is busy
        if self.held is not None and shapes_of(*self.held) == self.shapes:
            self._give(*self.held)
        else:
            self.held = None
        self.read.synchronize()
        return of_numbers(self.names, self.taken)

    def _give(self, batch: Batch, noise: Noise) -> None:
        for kept, given in zip((*self.batch.tensors, *self.noise), (*batch.tensors, *noise), strict=True):
            if kept is not None and given is not None:
                kept.copy_(given)


def _cloned(tensor: Tensor | None) -> Tensor | None:
    if tensor is None:
        return None
    return tensor.clone()


class CompiledRecording(Recording):
    """A recording of the compiled step."""

    def __init__(self, trainable: Trainable, batch: Batch, noise: Noise, settled: int) -> None:
        layout = Flat(trainable.parameters, ALIGNED)
        self.flat = layout.of(trainable)
        self.function = compiled(tensor_step(trainable, layout, settled), OPTIONS)
        super().__init__(trainable, batch, noise, settled)

    def _try(self, trainable: Trainable) -> None:
        noise = self.noise
        self.noise = tuple(torch.full_like(each, torch.nan) for each in noise)  # of which nothing is learned
        self._step(trainable)
        self.noise = noise

    @torch.no_grad()
    def _step(self, trainable: Trainable) -> tuple[list[str], Tensor]:
        found = self.function(*self.flat, trainable.adam.steps, self.batch.tensors, self.noise, self.pace)
        trainable.follow()
        return found
