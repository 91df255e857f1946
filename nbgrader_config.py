"""nbgrader's own settings, and the hook that puts the engine in place of its Execute step."""

from traitlets.config import Config

from autograder.build import nbgrader_settings
from autograder.nbgrader_hook import hook

c = get_config()  # noqa: F821  # nbgrader puts this name here
c.merge(Config(nbgrader_settings()))
hook(c)
