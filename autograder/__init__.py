"""Autograder for the deep-learning-abc course: runs students' notebooks in a box and compares them with the reference."""

__version__ = "0.1.0"
