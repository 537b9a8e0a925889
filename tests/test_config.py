"""Settings are refused at birth, with the nearest right name, and survive their file."""

import dataclasses
import tomllib

import pytest

from resnets.config import Preprocess, TrainConfig, parse_duration
from resnets.errors import ConfigError
from resnets.training.recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_its_toml_file(name, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(RECIPES[name].to_toml())
    assert TrainConfig(**TrainConfig.keys_in(path)) == RECIPES[name]


def test_an_unknown_key_is_answered_with_the_nearest_one(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("learning_rat = 0.1\n")
    with pytest.raises(ConfigError, match="unknown setting 'learning_rat'.*\n.*'learning_rate'"):
        TrainConfig.keys_in(path)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"crop": "pad"}, "did you mean 'pad4'"),
        ({"epochs": 0}, "epochs=0 must be above zero"),
        ({"epochs": 1.5}, "epochs takes a whole number"),
        ({"epochs": True}, "epochs takes a whole number"),
        ({"epochs": 3, "budget": 60.0}, "give one of them"),
        ({"momentum": 1.0}, "momentum"),
        ({"lr_drops": (0.5, 1.0)}, "shares of the run"),
        ({"flip": "yes"}, "flip takes true or false"),
        ({"workers": -1}, "workers=-1"),
    ],
)
def test_nonsense_is_refused_with_its_value(settings, told):
    with pytest.raises(ConfigError, match=told):
        TrainConfig(**settings)


def test_preprocess_survives_json_lists_and_refuses_other_keys():
    preprocess = Preprocess(input_size=(1, 28, 28), mean=(0.5,), std=(0.25,))
    values = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in preprocess.to_dict().items()
    }
    assert Preprocess.from_dict(values) == preprocess
    with pytest.raises(ConfigError, match="did you mean 'crop_pct'"):
        Preprocess.from_dict({**values, "crop_pc": 1.0})
    with pytest.raises(ConfigError, match="one mean"):
        dataclasses.replace(preprocess, mean=(0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("1h30m", 5400)]
)
def test_durations_read_as_people_write_them(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "ten", "5x", "m", "1.2.3m", "-5m"])
def test_what_is_no_duration_is_said(text):
    with pytest.raises(ConfigError, match="is no duration"):
        parse_duration(text)


def test_the_paper_recipe_holds_every_setting_of_section_4_2():
    paper = RECIPES["paper-cifar"]
    assert (paper.steps, paper.batch_size) == (64_000, 128)
    assert [share * 64_000 for share in paper.lr_drops] == [32_000, 48_000]
    assert (paper.learning_rate, paper.momentum, paper.weight_decay) == (0.1, 0.9, 1e-4)
    assert (paper.validation, paper.crop, paper.flip) == (0.1, "pad4", True)
    assert paper.mean_image and paper.initialisation == "he" and paper.decay_norm_and_bias
    assert not (paper.nesterov or paper.label_smoothing or paper.ema_decay or paper.warmup)


def test_the_toml_names_every_setting_that_has_a_value():
    values = tomllib.loads(TrainConfig(epochs=2).to_toml())
    missing = {f.name for f in dataclasses.fields(TrainConfig)} - values.keys()
    assert all(getattr(TrainConfig(epochs=2), name) is None for name in missing)
