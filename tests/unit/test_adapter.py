"""The updates of LoRA by themselves: what peft loads onto the parent is the saved model, whatever else training did."""

import json
from dataclasses import replace

import pytest
import test_resume
import torch
from accelerate import Accelerator
from nepotism.families.diffusion import fit as fitting
from nepotism.families.diffusion.extrapolation import extrapolated_weights
from nepotism.families.diffusion.low_rank import Adapter, adapted, discard
from nepotism.runtime.resume.job import Job
from peft import PeftModel
from test_resume import data, stopped, unet
from test_training_knobs import ALL, UPDATED, of, output, schedule

FILES = ["adapter_config.json", "adapter_model.safetensors"]


def trained(settings, checkpoints=None):
    """The merged network, and its updates by themselves."""
    kept = []
    merged, _ = fitting.fit(
        unet(), of(schedule()), data(), settings, 0, 1, Accelerator(cpu=True), "test", checkpoints=checkpoints,
        keep_updates=kept.append,
    )  # fmt: skip
    return merged, *kept


def loaded(folder, parent=None):
    return PeftModel.from_pretrained(parent or unet(), folder)


def distance(one, other):
    return float((output(one) - output(other)).abs().max())


@pytest.mark.parametrize("settings", [UPDATED, ALL], ids=["lora", "lora with an average"])
def test_the_saved_model_is_the_parent_with_the_adapter_that_peft_loads(tmp_path, settings):
    merged, adapter = trained(settings)
    adapter.save(tmp_path / "adapter")
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == FILES
    assert distance(merged, loaded(tmp_path / "adapter")) < 1e-5
    assert distance(merged, unet()) > 1e-2, "it has learned something"
    again = loaded(tmp_path / "adapter").merge_and_unload().state_dict()
    assert again.keys() == merged.state_dict().keys()
    for name, value in merged.state_dict().items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=1e-6)


def test_the_adapter_is_the_averaged_one():
    tensors = [trained(replace(UPDATED, ema=ema))[1].tensors for ema in (None, 0.8)]
    assert tensors[0].keys() == tensors[1].keys()
    assert not any(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


@pytest.mark.parametrize("weight", [0.0, 0.5, -1.0, -0.25])
def test_of_weights_that_went_the_other_way_the_adapter_went_it_too(tmp_path, weight):
    merged, adapter = trained(UPDATED)
    saved = extrapolated_weights(unet(), merged, weight)
    adapter.scaled(-weight).save(tmp_path / "adapter")
    assert distance(saved, loaded(tmp_path / "adapter")) < 1e-5


@pytest.mark.parametrize("settings", [UPDATED, ALL], ids=["lora", "lora with an average"])
def test_stopped_after_a_step_the_adapter_is_the_same_bytes(tmp_path, monkeypatch, settings):
    trained(settings)[1].save(tmp_path / "adapter")
    expected = [(tmp_path / "adapter" / name).read_bytes() for name in FILES]
    monkeypatch.setattr(test_resume, "SETTINGS", settings)
    stopped(tmp_path / "model", monkeypatch, 5)
    with Job(tmp_path / "model", 0.0) as job:
        trained(settings, job.checkpoints("finetune"))[1].save(tmp_path / "again")
    assert [(tmp_path / "again" / name).read_bytes() for name in FILES] == expected


def test_no_order_of_a_set_is_in_the_files(tmp_path):
    """Else they would be other bytes in every process: peft itself writes the layers as it finds them in a set."""
    adapter = Adapter.of(adapted(unet(), UPDATED.lora, 0, 1))
    assert adapter.config["target_modules"] == sorted(UPDATED.lora.target_modules)
    assert not [key for key, value in adapter.config.items() if isinstance(value, set)]
    assert adapter.config["base_model_name_or_path"] is None, "no path of this machine"


def test_an_adapter_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    first = Adapter.of(adapted(unet(), UPDATED.lora, 0, 1))
    first.save(tmp_path / "adapter")
    assert json.loads((tmp_path / "adapter" / FILES[0]).read_text())["r"] == 2

    def full(*given, **options):
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr("nepotism.families.diffusion.low_rank.save_file", full)
        with pytest.raises(OSError, match="no room"):
            first.save(tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == []
    first.save(tmp_path / "adapter")
    # Of a process that was killed while it removed one, and of one that was killed while it wrote.
    (tmp_path / ".adapter.old").mkdir()
    (tmp_path / ".adapter.old" / FILES[0]).touch()
    discard(tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == []
    discard(tmp_path / "nowhere" / "adapter")
