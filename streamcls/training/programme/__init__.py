"""Test programmes of hours: music, speech and sounds mixed at known times and levels from held-back recordings, repeatable by seed."""
