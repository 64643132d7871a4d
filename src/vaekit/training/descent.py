"""One step of gradient descent: operation by operation, as one compiled function, or, on an accelerator, as one graph.

    G ← ∂loss/∂θ,  shortened to `limit`;    θ ← Adam(θ, G) (Kingma & Ba 2015, arXiv:1412.6980);    θ̄ ← θ̄ + w (θ − θ̄)

Each changes a State's parameters, moments and averaged weights, or, where a number is not finite, nothing.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from vaekit.core import Batch, Bound, Objective
from vaekit.inference import Averages
from vaekit.training.recipe import Recipe

EPSILON = 1e-8
LOSS = "loss"
"""the name of its mean, where there is no bound to be told instead"""
EAGERLY = 100
"""steps before the first that is compiled or recorded: training starts, and shows what is wrong, at once"""
WARMING = 2
"""times that a gradient is computed before it is recorded: libraries allocate what they need at first use"""
UNRECORDED = 2
"""`uncompiled` where not even recording a step succeeded"""
ALIGNED = 64
"""numbers of a flat tensor, at multiples of which parameters begin on an accelerator: its products want addresses so"""
COMPILING_KERNELS = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe, "deterministic": True}
"""on an accelerator: of its kernels' shapes those that repeat to the bit, not those that were quickest when tried"""
COMPILING = {
    "guard_filter_fn": torch.compiler.skip_all_guards_unsafe,
    "cpp_wrapper": True,
    "cpp.use_decompose_tanh": True,
}
"""no look at what stays the same at every call, and no Python between the kernels: a third of a small step; and tanh by
one exponential, within 1e-7"""


class Pace(NamedTuple):
    """How far a step goes."""

    rate: float
    """learning rate"""
    limit: float
    """the longest gradient that is followed as it is"""
    weight: float
    """w, of the new weights in the averaged ones"""


class Descent(NamedTuple):
    """What came of a step."""

    means: dict[str, float]
    """of the bound, under the objective's name, and of its terms over the batch"""
    norm: float
    """length of the gradient, before it was shortened"""
    scale: float
    """by what it was: 1 where it was not"""
    finite: bool


class Adam(NamedTuple):
    """Adam's state, a tensor for each parameter."""

    means: list[Tensor]
    squares: list[Tensor]
    steps: Tensor
    """(n,)"""

    @staticmethod
    def zero(parameters: list[nn.Parameter]) -> "Adam":
        means, squares = ([torch.zeros_like(p, requires_grad=False) for p in parameters] for _ in range(2))
        return Adam(means, squares, torch.zeros(len(parameters), device=parameters[0].device))

    def forget(self) -> None:
        """As at the start."""
        for tensor in (*self.means, *self.squares, self.steps):
            tensor.zero_()


Noise = tuple[Tensor, ...]
"""what an objective asked for, ε (K, B, E) each"""
Ahead = Callable[[], "tuple[Batch, Noise] | None"]
"""makes what the next step will be called with, if it is known: an accelerator can be given it while it is busy"""


class Descended(nn.Module):
    """A model and its objective, with all the parameters that are trained: tensors ↦ Bound."""

    def __init__(self, model: nn.Module, objective: Objective):
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, tensors: tuple[Tensor | None, ...], noise: Noise, step: int) -> Bound:
        return self.objective(self.model, Batch(*tensors), *noise, step=step)


class Trained(Protocol):
    """What a step knows of a State. It changes parameters, averages, the averaged model's buffers and `adam`, and may
    set `uncompiled`."""

    last: Descended
    objective: Objective
    recipe: Recipe
    names: list[str]
    parameters: list[nn.Parameter]
    averages: list[nn.Parameter]
    buffers: tuple[list[Tensor], list[Tensor]]
    adam: Adam
    step: int
    settled: int
    uncompiled: int


def descent(compiled: bool, device: torch.device) -> "Eager | Compiled | Graphed":
    """How the steps of a training are gone."""
    if device.type == "cuda":
        return Graphed(compiled)
    return Compiled() if compiled else Eager()


class Eager:
    """Operation by operation, as PyTorch does by itself."""

    def __call__(self, state: Trained, batch: Batch, noise: Noise, pace: Pace, ahead: Ahead) -> Descent:
        with repeatable(batch.x.device):
            bound, used = gradient(state, batch, noise)
        with torch.no_grad():
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(used.gradient)))
            found = _found(*_numbers(state.objective, bound, norm, pace.limit))
            if not found.finite:
                return found
            if found.scale < 1:
                torch._foreach_mul_(used.gradient, found.scale)
            _adam(state.recipe, used, pace.rate)
            torch._foreach_lerp_(state.averages, state.parameters, pace.weight)
            _follow(state)
        return found


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Of cuDNN's ways to convolve, those alone that repeat to the bit. Of all else that a step is made of, PyTorch's
    kernels do so by themselves."""
    before = torch.backends.cudnn.deterministic
    if device.type != "cuda" or before:
        yield
        return
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


class Used(NamedTuple):
    """The parameters on which a loss depends, with what goes with each."""

    parameters: list[Tensor]
    gradient: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]


def gradient(state: Trained, batch: Batch, noise: Noise) -> tuple[Bound, Used]:
    """The bound on a batch, and the gradient of its loss."""
    bound = state.last(batch.tensors, noise, state.step)
    found = torch.autograd.grad(bound.loss, state.parameters, allow_unused=True)
    each = zip(state.parameters, found, *state.adam[:2], state.adam.steps.unbind(), strict=True)
    return bound, Used(*map(list, zip(*(e for e in each if e[1] is not None), strict=True)))


def _adam(recipe: Recipe, used: Used, rate: Tensor | float, **scaling: Tensor) -> None:
    first, second = recipe.betas
    parameters, found, means, squares, steps = used
    adam(
        parameters, found, means, squares, [], steps, lr=rate, beta1=first, beta2=second, eps=EPSILON,
        weight_decay=0.0, amsgrad=False, maximize=False, fused=True, **scaling,
    )  # fmt: skip


def _follow(state: Trained) -> None:
    """Give the averaged model what the model keeps besides its parameters."""
    if state.buffers[0]:
        torch._foreach_copy_(*state.buffers)


def told(objective: Objective, found: Bound | Averages) -> dict[str, Tensor]:
    """What is recorded, by name: the bound and its terms; where there is no bound, the loss."""
    first = {LOSS: found.loss} if found.value is None else {objective.name: found.value}
    return {**first, **found.terms}


def _numbers(objective: Objective, bound: Bound, norm: Tensor, limit: Tensor | float) -> tuple[list[str], Tensor]:
    """Names of the means, and all of a Descent as one tensor: it leaves the device once."""
    values = told(objective, bound)
    scale = torch.where(norm > limit, limit / norm, 1.0)
    finite = (norm.isfinite() & bound.loss.isfinite()).to(norm.dtype)
    return list(values), torch.stack([*(value.mean() for value in values.values()), norm, scale, finite])


def _found(names: list[str], numbers: Tensor) -> Descent:
    *means, norm, scale, finite = numbers.tolist()
    return Descent(dict(zip(names, means, strict=True)), norm, scale, bool(finite))


class Compiled:
    """The same as one function (`torch.compile`): the many small operations of a bound, its gradient and Adam become
    few. Needs a C++ compiler; without one it is `Eager`, and says so.

    The first steps, and those of a warm-up, in which the loss changes from step to step, are not compiled. Model and
    objective are taken to stay as they were when it was: nothing but the shapes of a batch is looked at again.
    """

    def __init__(self):
        self.eager, self.functions = Eager(), {}
        self.flat: list[Tensor] = []
        """all weights, averaged weights, and Adam's means and squares, each in one tensor"""
        self.seconds: float | None = None
        """what compiling took"""

    def __getstate__(self) -> dict:
        return {**vars(self), "functions": {}, "flat": []}  # compiled again where it is needed again

    def __call__(self, state: Trained, batch: Batch, noise: Noise, pace: Pace, ahead: Ahead) -> Descent:
        if not self._follows(state):
            return self.eager(state, batch, noise, pace, ahead)
        shapes = _shapes(batch, noise)
        if shapes in self.functions:
            found = self._call(self.functions[shapes], state, batch, noise, pace)
        else:
            found = self._compile(shapes, state, batch, noise, pace)
        if found.finite:
            _follow(state)
        return found

    def begins(self, state: Trained) -> bool:
        """Whether the next step is the first that is compiled."""
        return self._follows(state) and not self.functions

    def _follows(self, state: Trained) -> bool:
        return not state.uncompiled and _is_due(state)

    def _compile(self, shapes: tuple, state: Trained, batch: Batch, noise: Noise, pace: Pace) -> Descent:
        """Compile and go the first step."""
        began = time.monotonic()
        layout = Flat(state.parameters)
        self.flat = layout.of(state)
        function = torch.compile(_of_its_own(_step_of(state, layout)), dynamic=False, options=COMPILING)
        try:
            found = self._call(function, state, batch, noise, pace)
        except (torch._dynamo.exc.TorchDynamoException, OSError, ImportError) as error:
            _say("without compiling", error)
            state.uncompiled = 1
            return self.eager(state, batch, noise, pace, lambda: None)
        self.functions[shapes] = function
        self.seconds = (self.seconds or 0.0) + time.monotonic() - began
        return found

    def _call(self, function: Callable, state: Trained, batch: Batch, noise: Noise, pace: Pace) -> Descent:
        first, second = state.recipe.betas
        count = int(state.adam.steps.max()) + 1  # of a parameter that nothing uses it stays 0
        unbias = 1 / (1 - first**count), 1 / (1 - second**count)
        rates = torch.tensor([*pace, *unbias], device=batch.x.device)
        with torch.no_grad():
            tensors = tuple(None if t is None else t.contiguous() for t in batch.tensors)
            noise = tuple(each.contiguous() for each in noise)
            return _found(*function(*self.flat, state.adam.steps, tensors, noise, rates))


def _is_due(state: Trained) -> bool:
    """Whether the steps have come that are compiled or recorded."""
    return state.step >= max(EAGERLY, state.settled)


def _say(how: str, error: Exception) -> None:
    reason = str(error).partition("\n")[0] or type(error).__name__
    warnings.warn(f"training goes on {how}, as that failed: {reason}", stacklevel=4)


def _shapes(batch: Batch, noise: Noise) -> tuple:
    """What a step is compiled, or recorded, for."""
    return tuple(None if t is None else (t.shape, t.dtype) for t in (*batch.tensors, *noise))


class Graphed:
    """The same as one CUDA graph: what an accelerator does in a step is recorded once and played again at each, with no
    Python between its kernels, of which a small step has dozens of microseconds each. With `compiled` it is the
    compiled step that is recorded, which has a third of the kernels. What cannot be compiled is recorded as it is, and
    what cannot be recorded (a network that waits for a number to leave the accelerator, say) is `Eager`, and says so.

    The first steps, and those of a warm-up, in which the loss changes from step to step, are not recorded. Model and
    objective are taken to stay as they were when it was, and tensors of the state where they are.
    """

    def __init__(self, compiled: bool):
        self.eager, self.compiled = Eager(), compiled
        self.recordings: dict[tuple, Recording] = {}
        self.seconds: float | None = None
        """what compiling took"""

    def __getstate__(self) -> dict:
        return {**vars(self), "recordings": {}}  # recorded again where it is needed again

    def __call__(self, state: Trained, batch: Batch, noise: Noise, pace: Pace, ahead: Ahead) -> Descent:
        if not self._follows(state):
            return self.eager(state, batch, noise, pace, ahead)
        shapes = _shapes(batch, noise)
        if shapes not in self.recordings and not self._record(shapes, state, batch, noise):
            return self.eager(state, batch, noise, pace, ahead)
        return self.recordings[shapes].play(batch, noise, pace, ahead)

    def begins(self, state: Trained) -> bool:
        """Whether the next step is the first that is compiled."""
        return self.compiled and not state.uncompiled and self._follows(state) and not self.recordings

    def _follows(self, state: Trained) -> bool:
        return state.uncompiled < UNRECORDED and _is_due(state)

    def _record(self, shapes: tuple, state: Trained, batch: Batch, noise: Noise) -> bool:
        """Make the recording for a shape; whether that succeeded."""
        began = time.monotonic()
        if self.compiled and not state.uncompiled:
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "TensorFloat32")  # advice to be less exact
                    self.recordings[shapes] = CompiledRecording(state, batch, noise)
                self.seconds = (self.seconds or 0.0) + time.monotonic() - began
                return True
            except (
                RuntimeError,
                OSError,
                ImportError,
                AssertionError,
            ) as error:  # the last of strides, by the compiler
                _say("without compiling", error)
                state.uncompiled = 1
        try:
            self.recordings[shapes] = Recording(state, batch, noise)
            return True
        except RuntimeError as error:
            _say("without recording its steps", error)
            state.uncompiled = UNRECORDED
            return False


class Recording:
    """A step of a state for batches of one shape, on the accelerator where they are."""

    def __init__(self, state: Trained, batch: Batch, noise: Noise):
        device = batch.x.device
        self.shapes = _shapes(batch, noise)
        self.batch = Batch(*(None if t is None else t.clone() for t in batch.tensors))
        self.noise = tuple(each.clone() for each in noise)
        self.pace = torch.zeros(len(Pace._fields), device=device)
        self.given = torch.zeros(len(Pace._fields), pin_memory=True)  # copied from there, nothing waits for it
        self.held: tuple[Batch, Noise] | None = None
        """what the accelerator was already given for the next step"""
        self.graph, self.read, stream = torch.cuda.CUDAGraph(), torch.cuda.Event(), torch.cuda.Stream(device)
        before = [buffer.clone() for buffer in state.last.buffers()]
        stream.wait_stream(torch.cuda.current_stream(device))
        with repeatable(device):
            with torch.cuda.stream(stream):
                for _ in range(WARMING):
                    self._try(state)
                for buffer, value in zip(state.last.buffers(), before, strict=True):
                    buffer.copy_(value)
            torch.cuda.current_stream(device).wait_stream(stream)
            with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
                self.names, self.numbers = self._step(state)
        self.taken = torch.zeros(len(self.numbers), pin_memory=True)

    def _try(self, state: Trained) -> None:
        """Let everything run once, and change nothing."""
        gradient(state, self.batch, self.noise)

    def _step(self, state: Trained) -> tuple[list[str], Tensor]:
        """As `Eager`, with no number that leaves the accelerator: whether all is finite is a factor."""
        bound, used = gradient(state, self.batch, self.noise)
        rate, limit, weight = self.pace.unbind()
        with torch.no_grad():
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(used.gradient)))
            names, numbers = _numbers(state.objective, bound, norm, limit)
            scale, finite = numbers[-2:].unbind()
            _adam(state.recipe, used, rate, grad_scale=1 / scale, found_inf=1 - finite)
            moved = torch._foreach_sub(state.parameters, state.averages)
            torch._foreach_mul_(moved, weight * finite)
            torch._foreach_add_(state.averages, moved)
            _follow(state)
        return names, numbers

    def play(self, batch: Batch, noise: Noise, pace: Pace, ahead: Ahead) -> Descent:
        """The step on another batch."""
        self.given.numpy()[:] = pace
        self.pace.copy_(self.given, non_blocking=True)
        if self.held is None or self.held[0] is not batch or self.held[1] is not noise:
            self._give(batch, noise)
        self.graph.replay()
        self.taken.copy_(self.numbers, non_blocking=True)
        self.read.record()
        self.held = ahead()  # while the accelerator is busy
        if self.held is not None and _shapes(*self.held) == self.shapes:
            self._give(*self.held)
        else:
            self.held = None
        self.read.synchronize()
        return _found(self.names, self.taken)

    def _give(self, batch: Batch, noise: Noise) -> None:
        for kept, given in zip((*self.batch.tensors, *self.noise), (*batch.tensors, *noise), strict=True):
            if given is not None:
                kept.copy_(given)


class CompiledRecording(Recording):
    """A recording of the compiled step."""

    def __init__(self, state: Trained, batch: Batch, noise: Noise):
        layout = Flat(state.parameters, ALIGNED)
        self.flat = layout.of(state)
        self.function = torch.compile(_of_its_own(_step_of(state, layout)), dynamic=False, options=COMPILING_KERNELS)
        super().__init__(state, batch, noise)

    def _try(self, state: Trained) -> None:
        noise = self.noise
        self.noise = tuple(torch.full_like(each, torch.nan) for each in noise)  # of which nothing is learned
        self._step(state)
        self.noise = noise

    @torch.no_grad()
    def _step(self, state: Trained) -> tuple[list[str], Tensor]:
        found = self.function(*self.flat, state.adam.steps, self.batch.tensors, self.noise, self.pace)
        _follow(state)
        return found


class Flat:
    """Many tensors in one, each with its axes in the order in which they lie in memory: of which the rounding of a
    convolution depends, and a step that looks at no strides."""

    def __init__(self, tensors: list[Tensor], aligned: int = 1):
        self.shapes = [tensor.shape for tensor in tensors]
        self.gaps = [-tensor.numel() % aligned for tensor in tensors]
        self.orders = [sorted(range(t.dim()), key=t.stride, reverse=True) for t in tensors]

    def joined(self, tensors: Iterable[Tensor]) -> Tensor:
        """The numbers of tensors of these shapes, one after another."""
        pieces = []
        for tensor, order, gap in zip(tensors, self.orders, self.gaps, strict=True):
            pieces.append(tensor.permute(order).flatten())
            if gap:
                pieces.append(tensor.new_zeros(gap))
        return torch.cat(pieces)

    def parts(self, flat: Tensor) -> list[Tensor]:
        """The tensors that `joined` would have it from: what changes it changes them."""
        sizes = [shape.numel() for shape in self.shapes]
        pieces = flat.split([size + gap for size, gap in zip(sizes, self.gaps, strict=True)])
        return [
            piece[:size]
            .view([shape[axis] for axis in order])
            .permute([order.index(axis) for axis in range(len(order))])
            for piece, size, shape, order in zip(pieces, sizes, self.shapes, self.orders, strict=True)
        ]

    def flattened(self, tensors: list[Tensor]) -> Tensor:
        """The numbers of tensors, which become the parts of it."""
        flat = self.joined([tensor.detach() for tensor in tensors])
        for tensor, part in zip(tensors, self.parts(flat), strict=True):
            tensor.data = part
        return flat

    def of(self, state: Trained) -> list[Tensor]:
        """A state's weights, averaged weights, and Adam's means and squares."""
        return [self.flattened(ts) for ts in (state.parameters, state.averages, state.adam.means, state.adam.squares)]


def _of_its_own(function: Callable) -> Callable:
    """The same function with code of its own: what is compiled is kept by the code, and each state has its own."""
    return FunctionType(
        function.__code__.replace(), function.__globals__, function.__name__, None, function.__closure__
    )


def _step_of(state: Trained, layout: Flat) -> Callable:
    """A state's step as a function of tensors alone, of which it changes the first five.

    rates    a Pace, and Adam's corrections of its means and squares, which it computes itself where they are left out
    """
    last, names = state.last, state.names
    first, second = state.recipe.betas

    def step(weights, averaged, means, squares, steps, tensors, noise, rates):
        def loss(parameters):
            given = dict(zip(names, parameters, strict=True))
            bound = torch.func.functional_call(last, given, (tensors, noise, state.settled))
            return bound.loss, bound

        gradient, (_, bound) = torch.func.grad_and_value(loss, has_aux=True)(layout.parts(weights))
        rate, limit, weight, *unbias = rates.unbind()
        unbias_mean, unbias_square = unbias or [1 / (1 - beta ** (steps.max() + 1)) for beta in (first, second)]
        g = layout.joined(gradient)
        terms, numbers = _numbers(state.objective, bound, g.square().sum().sqrt(), limit)
        scale, finite = numbers[-2], numbers[-1] > 0  # read from there: computed once, not beside each weight
        g = scale * g
        mean, square = means.lerp(g, 1 - first), second * squares + (1 - second) * g * g
        new = weights - rate * unbias_mean * mean / ((unbias_square * square).sqrt() + EPSILON)
        for old, now in ((means, mean), (squares, square), (weights, new), (averaged, averaged.lerp(new, weight))):
            old.copy_(torch.where(finite, now, old))
        steps.add_(finite)
        return terms, numbers

    return step
