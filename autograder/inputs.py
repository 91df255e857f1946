"""Random inputs of hidden tests: other numbers for each student, the same numbers again on every regrade.

`derive_seed` hashes course secret, student, lesson and test; `Inputs` draws from that seed. It draws on the CPU and
moves, so a test gets the same numbers on every device, and it touches no global generator. What it made is kept in
`made`, in order, for replay.
"""

import hmac

import torch
from torch import Tensor


def derive_seed(secret: bytes, student: str, lesson: str, test: str) -> bytes:
    """32 bytes by HMAC-SHA256; nobody without the course secret can foretell them."""
    parts = [part.encode() for part in (student, lesson, test)]
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)  # so ("a", "bc") is not ("ab", "c")
    return hmac.digest(secret, message, "sha256")


class Inputs:
    """A seeded source of tensors on one device.

    The default type is float32, torch's own: an answer that is right but for its handling of other types then
    meets its fault in the test that is named for it, and not in all.
    """

    def __init__(self, seed: bytes, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.made: list[tuple[str, Tensor]] = []
        self._generator = torch.Generator().manual_seed(int.from_bytes(seed[:8], "big") >> 1)

    def randn(
        self, *shape: int, dtype: torch.dtype = torch.float32, requires_grad: bool = False, scale: float = 1.0
    ) -> Tensor:
        """Normal numbers with standard deviation `scale`; drawn in float64 and rounded to `dtype`."""
        drawn = torch.randn(*shape, dtype=torch.float64, generator=self._generator)
        if scale != 1.0:
            drawn *= scale
        return self._keep(f"randn{shape} scale {scale:g}", drawn.to(dtype), requires_grad)

    def rand(
        self,
        *shape: int,
        dtype: torch.dtype = torch.float32,
        requires_grad: bool = False,
        low: float = 0.0,
        high: float = 1.0,
    ) -> Tensor:
        """Even numbers between `low` and `high`; drawn in float64 and rounded to `dtype`."""
        drawn = low + (high - low) * torch.rand(*shape, dtype=torch.float64, generator=self._generator)
        return self._keep(f"rand{shape} from {low:g} to {high:g}", drawn.to(dtype), requires_grad)

    def randint(self, low: int, high: int, shape: tuple[int, ...]) -> Tensor:
        """Whole numbers, low <= number < high, int64."""
        return self._keep(f"randint{shape}", torch.randint(low, high, shape, generator=self._generator))

    def mask(self, *shape: int, p: float = 0.3) -> Tensor:
        """A boolean mask, True = blocked.

        Each row has the same number of blocked entries, about the share p, at least one and never all (a row of one
        stays open): so no test meets a blocked row by luck, and none has a mask that blocks nothing.
        """
        n = shape[-1]
        blocked = min(max(1, round(p * n)), n - 1)
        order = torch.rand(*shape, dtype=torch.float64, generator=self._generator).argsort(dim=-1)
        return self._keep(f"mask{shape}", order < blocked)

    def permutation(self, n: int) -> Tensor:
        """A random order of 0..n-1 that moves something (n > 1)."""
        order = torch.randperm(n, generator=self._generator)
        if torch.equal(order, torch.arange(n)):
            order = order.roll(1)
        return self._keep(f"permutation({n})", order)

    def integers(self, low: int, high: int) -> int:
        """One whole number, low <= number < high."""
        number = torch.randint(low, high, (), generator=self._generator)
        self.made.append((f"integer from {low} to {high - 1}", number))
        return int(number)

    def _keep(self, description: str, drawn: Tensor, requires_grad: bool = False) -> Tensor:
        """Record the numbers and hand out a tensor of them on the device; a test may change what it got."""
        self.made.append((description, drawn))
        return drawn.to(self.device, copy=True).requires_grad_(requires_grad)
