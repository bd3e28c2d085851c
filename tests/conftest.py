"""A signing key of the tests' own: nothing is written to the configuration folder of whoever runs them."""

import os
import secrets

# Before anything is imported or started, so that processes that tests start have it too.
os.environ["GARAGE_SIGNING_KEY"] = secrets.token_hex(32)
