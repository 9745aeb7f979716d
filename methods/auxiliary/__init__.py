"""Auxiliary maps: further images of every training sample, made once per dataset."""
