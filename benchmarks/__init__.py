"""Measurements that are no tests: they take minutes and print figures."""
