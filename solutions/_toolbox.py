# @title Toolbox for checks and pictures: run it once, there is nothing to change in here
import base64
import contextlib
import html
import io
import linecache

import matplotlib.pyplot as plt
import torch

# One colour for each thing, the same in all four lessons (Okabe and Ito's colour-blind-safe palette).
Q_COLOR, K_COLOR, V_COLOR = "#0072B2", "#D55E00", "#009E73"
SCORE_COLOR, OUTPUT_COLOR = "#CC79A7", "#E69F00"
plt.rcParams.update({"font.size": 10, "axes.titlesize": 11})
plt.rcParams["figure.constrained_layout.use"] = True

_TOLERANCE = {
    torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2,
}
_last_check = {}  # exercise -> (mark, what to say about it, the object that was checked)


class _CheckFailedError(Exception):
    """The first check of a block that does not hold ends the block."""


def _text(value):
    """A short description of any value; only small tensors with their numbers."""
    if isinstance(value, torch.Tensor):
        kind = f"shape {tuple(value.shape)}, {str(value.dtype).removeprefix('torch.')}"
        if value.numel() > 16:
            return f"a tensor of {kind}"
        numbers = value.detach().cpu()
        if numbers.is_floating_point():
            numbers = numbers.double().mul(1e4).round().div(1e4)
        return f"{numbers.tolist()}  ({kind})"
    if isinstance(value, (tuple, list)) and any(torch.is_tensor(item) for item in value):
        items = ", ".join(_text(item) for item in value)
        return f"a {type(value).__name__} of {len(value)}: {items[:300]}"
    kind = "" if value is None or isinstance(value, str) else f" ({type(value).__name__})"
    return repr(value)[:300] + kind


def _why_unequal(got, wanted, within):
    """What is unequal about two values as (wanted, got), or None when they agree."""
    if isinstance(wanted, (tuple, list)):
        if not isinstance(got, (tuple, list)) or len(got) != len(wanted):
            return f"{len(wanted)} values, {_text(wanted)}", _text(got)
        pairs = zip(got, wanted, strict=True)
        return next((why for pair in pairs if (why := _why_unequal(*pair, within))), None)
    if isinstance(wanted, torch.Tensor):
        if isinstance(got, torch.Tensor):
            return _why_tensors_unequal(got, wanted, within)
        return _text(wanted), _text(got) + (" (is a `return` missing?)" if got is None else "")
    if isinstance(got, torch.Tensor) and got.numel() == 1:
        got = got.item()
    if isinstance(wanted, float) and isinstance(got, (int, float)):
        within = 1e-5 if within is None else within
        same = got == wanted or abs(got - wanted) <= within * max(1.0, abs(wanted))
    else:
        same = type(got) is type(wanted) and got == wanted
    return None if same else (_text(wanted), _text(got))


def _why_tensors_unequal(got, wanted, within):
    """The same for two tensors: shape, then dtype and device, then values."""
    if got.shape != wanted.shape:
        return f"shape {tuple(wanted.shape)}", f"shape {tuple(got.shape)}"
    if got.dtype != wanted.dtype:
        return str(wanted.dtype), str(got.dtype)
    if got.device != wanted.device:
        return f"a tensor on {wanted.device}", f"a tensor on {got.device}"
    got, wanted = got.detach().cpu(), wanted.detach().cpu()
    allowed = _TOLERANCE.get(wanted.dtype, 0.0) if within is None else within
    a, b = got.double(), wanted.double()
    scale = max([1.0, *b[b.isfinite()].abs().flatten().tolist()])
    wrong = ~((a == b) | (a.isnan() & b.isnan()) | ((a - b).abs() <= allowed * scale))
    if not wrong.any():
        return None
    if wanted.numel() <= 16:
        return _text(wanted), _text(got)
    where = tuple(wrong.nonzero()[0].tolist())
    place = f" at {where}, and {int(wrong.sum())} of {wrong.numel()} entries are off"
    return f"{wanted[where].item():.6g}{place}", f"{got[where].item():.6g}"


class _Checks:
    """Each method ends the `with checking` block when its check does not hold."""

    def equal(self, what, got, wanted, hint="", within=None):
        """Shape, dtype, device and values agree; `within` replaces the dtype's tolerance."""
        why = _why_unequal(got, wanted, within)
        if why:
            self._fail(what, *why, hint)

    def shape(self, what, got, wanted, hint=""):
        """`got` is a tensor of the shape `wanted`."""
        if not isinstance(got, torch.Tensor):
            self._fail(what, f"a tensor of shape {tuple(wanted)}", _text(got), hint)
        if tuple(got.shape) != tuple(wanted):
            self._fail(what, f"shape {tuple(wanted)}", f"shape {tuple(got.shape)}", hint)

    def true(self, what, condition, hint=""):
        """`condition` holds."""
        if not bool(condition):
            self._fail(what, None, None, hint)

    def raises(self, what, kind, call, hint=""):
        """`call()` raises `kind`."""
        try:
            result = call()
        except kind:
            return
        except NotImplementedError:
            raise
        except Exception as error:
            self._fail(what, kind.__name__, f"{type(error).__name__}: {error}", hint)
        self._fail(what, kind.__name__, f"no error, but {_text(result)}", hint)

    def _fail(self, what, wanted, got, hint):
        lines = [what]
        lines += [] if wanted is None else [f"    wanted: {wanted}", f"    got:    {got}"]
        lines += [f"    hint:   {hint}"] if hint else []
        raise _CheckFailedError("\n".join(lines))


def _notebook_frame(error):
    """Where in this notebook an error comes from: (function, its line, was it raised there)."""
    found, at = None, error.__traceback__
    while at is not None:
        if at.tb_frame.f_globals is globals():
            code = at.tb_frame.f_code
            line = linecache.getline(code.co_filename, at.tb_lineno).strip()
            function = getattr(code, "co_qualname", code.co_name).split(".")[0]
            found = function, line, at.tb_next is None
        at = at.tb_next
    return found or ("", "", False)


def _explain(name, error):
    """(mark, one or more lines) for an error that came out of an exercise."""
    function, line, raised_there = _notebook_frame(error)
    if isinstance(error, _CheckFailedError):
        return "✘", f"{name}: {error}"
    if isinstance(error, NotImplementedError) and raised_there:
        waits = "" if function == name else f" waits for {function}, which"
        return "○", f"{name}{waits} is still open"
    if isinstance(error, NameError) and error.name == name:
        return "○", f"{name} is not there yet: run the cell that defines it"
    message = (str(error).strip() or "(no message)")[:400].replace("\n", "\n      ")
    where = f"\n    in the line: {line}" if line else ""
    return "✘", f"{name}: {type(error).__name__}: {message}{where}"


@contextlib.contextmanager
def checking(name):
    """The visible checks of the exercise `name`: says what does not hold; never raises."""
    try:
        yield _Checks()
        mark, message = "✔", f"{name}: all visible checks pass"
    except (Exception, SystemExit) as error:
        mark, message = _explain(name, error)
    _last_check[name] = mark, message.split("\n")[0], globals().get(name)
    print(mark, message)


def _show(figure, alt):
    """Puts a figure into the notebook, with a text for those who cannot see it."""
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        def get_ipython():
            return None
    alt = " ".join(alt.split())
    if get_ipython() is None:
        print(f"[picture: {alt}]")
        return
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110, bbox_inches="tight", facecolor="white")
    data = f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
    # An <img> too, since not every front end takes the alt text from the metadata.
    page = f'<img alt="{html.escape(alt)}" src="{data}" style="max-width: 100%">'
    bundle = {"image/png": png.getvalue(), "text/html": page, "text/plain": f"[picture: {alt}]"}
    display(bundle, raw=True, metadata={"image/png": {"alt": alt}})


@contextlib.contextmanager
def picture(name, alt):
    """Shows the figures that the block makes with the exercise `name`, or says why not."""
    before = set(plt.get_fignums())
    try:
        yield
        for number in sorted(set(plt.get_fignums()) - before):
            _show(plt.figure(number), alt)
    except (Exception, SystemExit) as error:
        mark, message = _explain(name, error)
        print(mark, "no picture yet:", message)
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)


@contextlib.contextmanager
def showing(name):
    """Runs a block that needs the exercise `name`, or says why it cannot; never raises."""
    try:
        yield
    except (Exception, SystemExit) as error:
        mark, message = _explain(name, error)
        print(mark, "nothing to show yet:", message)


def heatmap(ax, matrix, title, xlabel, ylabel, xticks=None, yticks=None, annotate=False,
            cmap="cividis", vmin=None, vmax=None):
    """Draws a matrix into `ax`, row 0 at the top, and returns the image (for a colour bar)."""
    matrix = torch.as_tensor(matrix).detach().cpu().double()
    image = ax.imshow(matrix.tolist(), cmap=cmap, vmin=vmin, vmax=vmax, aspect="auto",
                      interpolation="nearest")
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    if xticks is not None:
        longest = max((len(str(tick)) for tick in xticks), default=0)
        ax.set_xticks(range(len(xticks)), xticks, rotation=45 if longest > 2 else 0)
    if yticks is not None:
        ax.set_yticks(range(len(yticks)), yticks)
    for row, col in matrix.isfinite().nonzero().tolist() if annotate else []:
        value = matrix[row, col].item()
        red, green, blue, _ = image.cmap(image.norm(value))
        ink = "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.5 else "white"
        ax.text(col, row, f"{round(value, 2) + 0.0:.3g}", ha="center", va="center", color=ink)
    return image


def ready(*names, written=()):
    """The table before handing in: what the last run of each exercise's checks said."""
    width = max(len(name) for name in (*names, *written))
    done = 0
    for name in names:
        not_run = "·", f"{name}: its check cell has not been run", None
        mark, message, checked = _last_check.get(name, not_run)
        if mark == "✔" and globals().get(name) is not checked:
            mark, message = "·", f"{name}: changed since its checks ran, run them once more"
        done += mark == "✔"
        print(mark, name.ljust(width), "|", message.removeprefix(name).lstrip(": "))
    for name in written:
        print("✎", name.ljust(width), "|", "in your own words: a person will read it")
    print(f"\n{done} of {len(names)} exercises pass their visible checks.", end=" ")
    if done == len(names):
        print("Save, then download this notebook as .ipynb and hand it in.")
    else:
        print("You may hand in at any time: each exercise counts for itself.")
