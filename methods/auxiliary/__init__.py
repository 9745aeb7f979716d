"""Auxiliary maps: further images of every sample, made once per dataset."""
