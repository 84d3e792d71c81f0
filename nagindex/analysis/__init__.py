"""What neurons do, shown on the model itself: those that stand for a target chosen, switched off, and the loss measured.

It knows no command line, and never writes into an index.
"""

from nagindex.analysis.choice import NeuronChoice as NeuronChoice
from nagindex.analysis.deactivation import deactivated as deactivated
from nagindex.analysis.losses import DeactivationLosses as DeactivationLosses
from nagindex.analysis.losses import evaluate_deactivation as evaluate_deactivation
