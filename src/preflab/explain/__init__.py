"""Simulator, replay and dial: pages and measurements made from the records that runs wrote."""
