"""How each golden case is computed by our code: every module here has RUNNERS, case name to a function of the case."""
