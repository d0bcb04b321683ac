# SPDX-License-Identifier: Apache-2.0
"""What labs already export, read into the document of a bundle: one format per module."""
