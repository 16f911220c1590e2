"""The build: everything but how modules are collected is in setup.cfg."""

import shutil

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildAnew(build_py):
    """Collect the modules of now: an earlier build leaves its own in `build/`, deleted ones among them."""

    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


setup(cmdclass={"build_py": BuildAnew})
