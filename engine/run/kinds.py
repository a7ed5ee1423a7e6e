"""The kinds of events: one dataclass a kind, read by who writes them, by the fold and by docs/events.md."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Self

from engine.run.event import About, Event, Record, line

Done = Annotated[int, About("updates that were done by then", "steps")]
DoneOrMissing = Annotated[int | None, About("updates that were done by then", "steps")]
Bytes = Annotated[int, About("size on the disk", "bytes")]


@line
class Launched(Event):
    """The supervisor has started, or is about to start the worker again."""

    kind: ClassVar[str] = "launched"
    pid: Annotated[int, About("the supervisor's process; whoever launched it finds its own run by it")]
    host: Annotated[str, About("the machine's name")]
    restarts: Annotated[int, About("how often this supervisor has started its worker again")]


@line
class Started(Event):
    """The worker has read its plan; what is loaded and cached comes next."""

    kind: ClassVar[str] = "started"
    pid: Annotated[int, About("the worker's process")]
    host: Annotated[str, About("the machine's name")]
    version: Annotated[str, About("the version of sdtrain-tui")]
    torch: Annotated[str, About("the version of torch")]
    plan_hash: Annotated[str, About("a hash of the plan's content")]
    total_steps: Annotated[int | None, About("the plan's train.steps", "steps")]
    name: Annotated[str, About("the run's name")]
    method: Annotated[str, About("the training method")]
    family: Annotated[str, About("the base model's family")]
    device: Annotated[str, About("where it trains: cpu, cuda:0, ...")]
    resumed: Annotated[bool, About("a checkpoint was found; false begins an empty history")]


@line
class Phase(Event):
    """The worker turns to something else."""

    kind: ClassVar[str] = "phase"
    phase: Annotated[
        str,
        About(
            "downloading, loading, caching, compiling, training, sampling, validating, saving or exporting"
        ),
    ]
    text: Annotated[str, About("what exactly, for people; may be empty")]


@line
class Progress(Event):
    """How far a phase other than training is; four times a second at most."""

    kind: ClassVar[str] = "progress"
    phase: Annotated[str, About("the phase it belongs to")]
    done: Annotated[int, About("pictures, captions or files that are done")]
    total: Annotated[int, About("how many there are in all")]
    text: Annotated[str, About("what is counted")]


@line
class Heartbeat(Event):
    """The engine lives; written every 5 s in which nothing else was."""

    kind: ClassVar[str] = "heartbeat"
    phase: Annotated[str, About("the present phase, or paused")]
    step: DoneOrMissing


@line
class Step(Event):
    """One update of the weights, or one that was skipped."""

    kind: ClassVar[str] = "step"
    step: Annotated[int, About("the update's number, from 1")]
    loss: Annotated[float, About("the mean loss of the effective batch")]
    lr: Annotated[float, About("the first trainable's learning rate in this update")]
    grad_norm: Annotated[float, About("the norm of all gradients before they were clipped")]
    images_per_s: Annotated[float, About("throughput since the update before", "samples a second")]
    epoch: Annotated[float | None, About("how often the whole data set was seen")]
    skipped: Annotated[bool, About("loss or gradients were not finite, and no weight was changed")] = False


@line
class Sample(Event):
    """A preview was drawn, or could not be."""

    kind: ClassVar[str] = "sample"
    step: Done
    index: Annotated[int, About("the prompt's position in the plan, from 0; one more for an extra prompt")]
    prompt: Annotated[str, About("what was drawn")]
    seed: Annotated[int, About("the seed of its noise")]
    path: Annotated[str, About("the picture, relative to the run's folder")] = ""
    thumb: Annotated[str, About("its thumbnail of 256 px at most, relative to the run's folder")] = ""
    error: Annotated[str, About("why there is no picture; then path and thumb are missing")] = ""
    to_prompt: Annotated[float | None, About("with samples.clip: how near it is to its prompt, -1 to 1")] = (
        None
    )
    to_pictures: Annotated[float | None, About("with samples.clip: and to the pictures, in the mean")] = None


@line
class Validation(Event):
    """The loss of the held-out pictures was measured, or could not be; its draws are the same at every step."""

    kind: ClassVar[str] = "validation"
    step: Done
    loss: Annotated[float, About("mean squared error over all pictures, bands and draws")]
    pictures: Annotated[int, About("how many pictures were measured")]
    seconds: Annotated[float, About("how long it took", "seconds")]
    bands: Annotated[dict[str, float], About("the loss of each band of timesteps, the cleanest first")]
    signals: Annotated[dict[str, float], About("what the method says of its weights, numbers by name")]
    best_step: Annotated[int | None, About("the step with the lowest loss so far, this one included")] = None
    best_loss: Annotated[float | None, About("that loss")] = None
    raw: Annotated[
        float | None,
        About("with train.ema: the loss of the last step's own weights, where `loss` is the averages'"),
    ] = None
    error: Annotated[str, About("why nothing was measured; the loss is not a number then")] = ""


@line
class Checkpoint(Event):
    """A checkpoint lies whole on the disk; older ones are pruned after this."""

    kind: ClassVar[str] = "checkpoint"
    step: Done
    path: Annotated[str, About("its folder, relative to the run's")]
    bytes: Bytes
    seconds: Annotated[float | None, About("how long it took until it lay there", "seconds")]
    stalled: Annotated[
        float | None, About("how long the training stood still for it; the rest went on beside", "seconds")
    ] = None


@line
class Warned(Event):
    """Something that the user should know and that does not end the run."""

    kind: ClassVar[str] = "warning"
    code: Annotated[str, About("a short name for programs: not-finite, restarted, broken-checkpoint, ...")]
    text: Annotated[str, About("what happened, for people")]
    step: DoneOrMissing = None
    key: Annotated[str, About("the plan's key that it is about")] = ""
    signal: Annotated[str, About("with code restarted, for other tools: what ended the worker")] = ""
    restarts: Annotated[
        int, About("with code restarted, for other tools: how often the worker was started again")
    ] = 0


@line
class Fit(Event):
    """Something that the run gives up so that it fits the memory that is free; one event each, in their order."""

    kind: ClassVar[str] = "fit"
    choice: Annotated[str, About("what is given up, as in docs/memory.md")]
    changes: Annotated[str, About("the plan's keys that are other than written, as key = value, ...")]
    price: Annotated[str, About("what that costs, for people")]
    takes: Annotated[int, About("the forecast peak with this and all before", "bytes")]
    needs: Annotated[int, About("the forecast peak of the plan as it is written", "bytes")]
    free: Annotated[int, About("what was free when the run began", "bytes")]
    again: Annotated[bool, About("chosen at an earlier start, and kept")] = False


@line
class Replanned(Event):
    """A value of the plan is another one from here on; one event each, before the run goes on."""

    kind: ClassVar[str] = "replanned"
    key: Annotated[str, About("the plan's field")]
    before: Annotated[str, About("its value until here, as in the plan's file")]
    after: Annotated[str, About("its value from here on")]
    because: Annotated[str, About("why that may change, for people")]


@line
class Answered(Event):
    """What became of a control command; one command may be accepted first and done later."""

    kind: ClassVar[str] = "command"
    id: Annotated[str, About("the command's id in control.jsonl")]
    cmd: Annotated[str, About("the command")]
    status: Annotated[str, About("accepted, done or refused")]
    text: Annotated[str, About("why, for people; may be empty")]


@line
class Paused(Event):
    """The worker waits; the weights stay in memory."""

    kind: ClassVar[str] = "paused"
    step: DoneOrMissing
    reason: Annotated[str, About("missing when the user asked for it; disk-full when the disk did")] = ""
    text: Annotated[str, About("what it waits for, for people")] = ""


@line
class Unpaused(Event):
    """The worker goes on."""

    kind: ClassVar[str] = "unpaused"
    step: DoneOrMissing


@line
class Resumed(Event):
    """A checkpoint was loaded: what was told of later updates no longer counts, and they are done again."""

    kind: ClassVar[str] = "resumed"
    from_step: Annotated[int | None, About("updates that the checkpoint holds", "steps")]


@line
class TrainablePart(Event):
    """A module that trains; one event each."""

    kind: ClassVar[str] = "trainable"
    module: Annotated[str, About("unet, text_encoder, ...")]
    parameters: Annotated[int, About("how many weights train in it")]
    tensors: Annotated[int, About("in how many tensors")]


@line
class Exported(Event):
    """A file was written, read back and compared."""

    kind: ClassVar[str] = "exported"
    format: Annotated[str, About("the export format")]
    path: Annotated[str, About("the file or folder, relative to the run's folder")]
    bytes: Bytes
    step: Done
    tensors: Annotated[int, About("tensors in it")]


@line
class Failed(Event):
    """The run has ended, and not as it should.

    Readers also take `error` as an object of `what`, `why` and `fix`, and `what` beside the rest.
    """

    kind: ClassVar[str] = "failed"
    error: Annotated[str, About("what went wrong")]
    why: Annotated[str, About("what is known of the reason")]
    fix: Annotated[str, About("what to do next")]
    state: Annotated[str, About("failed, out-of-memory, disk-full or crashed")]
    signal: Annotated[str, About("what ended the worker, when it was a signal")] = ""
    exit_code: Annotated[int | None, About("what the worker left with, when it left by itself")] = None

    @classmethod
    def read(cls, record: Record) -> Self:
        """As every event, in any of the three ways to say what went wrong."""
        error = record.get("error")
        parts: Record = error if isinstance(error, dict) else record
        what = parts.get("what")
        told = what if isinstance(what, str) and what else error
        return super().read({**record, "error": told, "why": parts.get("why"), "fix": parts.get("fix")})


@line
class Stopped(Event):
    """The run has ended because it was asked to, after a save where there was something to save."""

    kind: ClassVar[str] = "stopped"
    step: DoneOrMissing
    reason: Annotated[str, About("the command or the signal that asked; may be empty")]


@line
class Finished(Event):
    """The run has ended as planned, and its files are exported."""

    kind: ClassVar[str] = "finished"
    step: DoneOrMissing
    seconds: Annotated[float, About("how long this worker ran", "seconds")]


KINDS: Final[dict[str, type[Event]]] = {
    each.kind: each
    for each in (
        Launched,
        Started,
        TrainablePart,
        Phase,
        Progress,
        Heartbeat,
        Resumed,
        Step,
        Sample,
        Validation,
        Checkpoint,
        Exported,
        Warned,
        Fit,
        Replanned,
        Answered,
        Paused,
        Unpaused,
        Stopped,
        Failed,
        Finished,
    )
}

LAST_WORDS: Final = frozenset(each.kind for each in (Finished, Stopped, Failed))
"""After one of these a worker says nothing more."""
