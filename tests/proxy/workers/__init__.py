"""Tests of several processes at one address."""
