"""Network sizes that nobody published, for property tests."""

from hypothesis import strategies as st

from ddrnet.variants import DDRNetConfig, FusionStage

SMALL_CLASSIFIER = DDRNetConfig(4, (1, 1), ((16, 1), (16, 2), (32, 1)), dappm_width=8, head_width=8)


def own_configs():
    """Sizes of every form, with few channels so that they build quickly."""
    depth = st.integers(1, 3)
    stages = st.lists(st.tuples(st.booleans(), depth), min_size=1, max_size=4).map(_stages)
    width = st.sampled_from([4, 8])
    return st.builds(DDRNetConfig, width, st.tuples(depth, depth), stages, width, width)


def _stages(steps):
    """Start at stride 16; each later stage doubles it or not."""
    stride, stages = 16, []
    for index, (doubles, depth) in enumerate(steps):
        stride *= 2 if doubles and index else 1
        stages.append(FusionStage(stride, depth))
    return tuple(stages)
