"""This folder on the path, here and (by PYTHONPATH) in the simulator: `import cosim`, cocotb modules."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
