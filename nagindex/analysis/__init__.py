"""What the NAGs of an index show: the neurons of a target, switched off in the model, and maps of targets and pool.

It knows no command line, and writes nothing into an index.
"""

from nagindex.analysis.agreement import Agreement as Agreement
from nagindex.analysis.choice import NeuronChoice as NeuronChoice
from nagindex.analysis.deactivation import deactivated as deactivated
from nagindex.analysis.losses import DeactivationLosses as DeactivationLosses
from nagindex.analysis.losses import evaluate_deactivation as evaluate_deactivation
from nagindex.analysis.maps import NagMap as NagMap
from nagindex.analysis.maps import require_map_file as require_map_file
from nagindex.analysis.tasks import TaskScores as TaskScores
from nagindex.analysis.tasks import evaluate_deactivation_tasks as evaluate_deactivation_tasks
from nagindex.search.tsne import require_layout as require_layout
