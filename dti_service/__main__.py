"""`python -m dti_service` is the `dti` command."""

import sys

from dti_service.cli import main

sys.exit(main())
