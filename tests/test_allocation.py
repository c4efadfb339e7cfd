"""The allocator setting: large buffers come from the heap, and the switch turns that off."""

import os
import subprocess
import sys

import pytest

CODE = """
import sys
from hyperfitting.allocation import keep_large_buffers
print(keep_large_buffers())
