"""Simulator, replay and dial: what runs did, seen from the records that they wrote."""
