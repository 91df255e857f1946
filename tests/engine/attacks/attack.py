"""What an entry of the corpus is: a goal, the code that goes for it, the layer that holds it, how it is real."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Attack:
    """One attack. `code` is the body of a function that an exercise calls, or of a whole answer; its group says which.

    real      where it is tried without its layer: "open" (the box `none`), "naive" (a process with the tests, the answers
              and a secret in it), "rules off" (graded without the from-scratch rules and their kernels), "roomy" (with
              limits so large that it ends), "raw" (shown without being cleaned), or why it is not tried at all
    """

    name: str
    goal: str
    layer: str
    code: str
    real: str
    answers: dict[str, str] = field(default_factory=dict)  # exercise -> answer, where it is not about one function
    cause: str = ""  # how its tests end, where that matters
    needs_root: bool = False  # nobody else could do it in the first place
