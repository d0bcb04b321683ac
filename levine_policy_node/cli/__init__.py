# SPDX-License-Identifier: Apache-2.0
"""The `levine` command: one file per subcommand."""
