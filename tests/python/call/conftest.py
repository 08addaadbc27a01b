"""What tests of calls share."""

import pytest

pytest.register_assert_rewrite("counted", "remedy_steps")
