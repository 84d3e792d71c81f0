"""How the property tests run: the same examples every time, and no shrinking, which takes minutes on a failure."""

from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "nagindex",
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("nagindex")
