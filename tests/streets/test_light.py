from random import Random

import numpy as np
import pytest

from ddrnet.streets.light import Light, Tone


@pytest.fixture(params=range(12))
def light(request):
    return Light.draw(Random(request.param))


def test_the_sun_stands_above_the_ground(light):
    assert np.linalg.norm(light.sun) == pytest.approx(1)
    assert light.sun[1] > 0.05


def test_sunlight_brightens_and_haze_veils(light):
    paint = (120, 120, 120)
    lit, shaded = light.tone(0.0, 1.0), light.tone(0.0, 1.0, sunlit=False)
    assert all(a >= b for a, b in zip(lit.color(paint), shaded.color(paint), strict=True))
    far = light.tone(1e6).color(paint)
    assert far == pytest.approx(light.horizon, abs=1)


def test_a_shadow_lies_on_the_ground_away_from_the_sun():
    light = Light.draw(Random(0))._replace(sun=(0.6, 0.8, 0.0))
    points = np.array([[0.0, 4.0, 7.0], [1.0, 0.0, 2.0]])
    assert np.allclose(light.shadow(points), [[-3, 0, 7], [1, 0, 2]])


def test_a_tone_says_the_same_as_colour_palette_and_matrix():
    tone = Tone((0.5, 0.25, 1.0), (10.0, 20.0, 30.0))
    assert tone.color((100, 100, 255)) == (60, 45, 255)
    palette = np.frombuffer(tone.palette((0, 0, 0), (255, 255, 255)), np.uint8).reshape(256, 3)
    assert palette[100].tolist() == pytest.approx([60, 45, 130], abs=1)
    assert tone.matrix() == (0.5, 0, 0, 10.0, 0, 0.25, 0, 20.0, 0, 0, 1.0, 30.0)
