"""The only part of the package that the box can see; it imports nothing from outside itself."""
