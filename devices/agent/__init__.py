"""The agent: loads one artifact in its runtime on the device that it runs on, runs it and times it.

This folder stands alone (the standard library, numpy and the runtime's own library; Python 3.9) and is the one thing
that is copied to a device. `devices/session.py` says how it is started, and why under a name that nobody else has.
"""
