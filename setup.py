"""Map the folders in the root into the namespace `ossicle`, subpackages found as they are added."""

from setuptools import find_namespace_packages, setup

ROOMS = ("hw", "sim", "compiler", "runtime", "models")
found = [
    name for room in ROOMS for name in [room, *(f"{room}.{sub}" for sub in find_namespace_packages(room))]
]
setup(packages=[f"ossicle.{name}" for name in found])
