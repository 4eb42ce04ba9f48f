"""The component: what `componentize-py` is told to build."""

import sawlog
from tidy import Tidy

Lifecycle, Transform = sawlog.export(Tidy)
