"""The trainer: the same seed gives the same weights, and a resumed run ends where an unbroken one does."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import Generator
from torch import Tensor, nn
from transformers import CLIPModel

from segwright.errors import InputError
from segwright.mini.scenes import THINGS
from segwright.mini.train import guide
from segwright.mini.train.captioner import sober_caption
from segwright.mini.train.clip import build, embed, pooled, seen_things, value_features, windows
from segwright.mini.train.data import CLUTTER, render
from segwright.mini.train.export import save_model, start_from
from segwright.mini.train.loop import MuonAdamW, Plan, load_checkpoint, orthogonalise, train
from segwright.mini.train.pictures import CLASSES, SOMETHING, UNNAMED, cells, content, fragment, kmeans_labels
from segwright.mini.train.tokens import bert_tokenizer, clip_tokenizer


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 1))

    def loss(self, rng: Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        x = torch.from_numpy(rng.normal(size=(32, 4))).float()
        x = x + 0.01 * torch.randn_like(x)
        error = (self.layers(x)[:, 0] - x.prod(1)).square().mean()
        return error, {"error": float(error.detach())}


class PowerCutError(Exception):
    pass


def trained(folder: Path, plan: Plan, stop_at: int | None = None, seed: int = 0) -> dict[str, Tensor]:
    toy = Toy()

    def loss(rng: Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        if step == stop_at:
            raise PowerCutError
        return toy.loss(rng, step)

    train("toy", toy, loss, plan, folder, seed=seed)
    return toy.state_dict()


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_resumed_run_equals_unbroken_run(tmp_path: Path, ema: float) -> None:
    plan = Plan(30, ema=ema, checkpoint_s=0.0, warmup=5)
    whole = trained(tmp_path / "a", plan)
    for stop in (7, 19):
        with pytest.raises(PowerCutError):
            trained(tmp_path / "b", plan, stop)
        assert load_checkpoint(tmp_path / "b" / "toy.ckpt.safetensors")[1]["step"] == stop
    resumed = trained(tmp_path / "b", plan)
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    assert not list(tmp_path.rglob("*.part"))


def test_seed_decides(tmp_path: Path) -> None:
    plan = Plan(10, warmup=2)
    one, same, other = (trained(tmp_path / n, plan, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not all(torch.equal(one[k], other[k]) for k in one)


def test_a_checkpoint_of_another_seed_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, Plan(3))
    with pytest.raises(InputError, match="begun with seed 0, not 4"):
        trained(tmp_path, Plan(3), seed=4)


def test_training_learns(tmp_path: Path) -> None:
    toy = Toy()
    notes = train("toy", toy, toy.loss, Plan(300, lr=1e-2, warmup=10), tmp_path)
    assert notes["steps"] == 300
    assert float(toy.loss(np.random.default_rng(99), 0)[0]) < 0.5


def test_orthogonalised_matrix_has_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((8, 30), (30, 8), (12, 12)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape), 8))
        assert 0.6 < float(values.min()) <= float(values.max()) < 1.25


def test_adam_part_equals_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Parameter(torch.ones(7)), nn.Parameter(torch.ones(7))
    optimizer = MuonAdamW([("x", ours)], Plan(1000, lr=0.01, warmup=1, decay=1e-9))
    reference = torch.optim.Adam([theirs], lr=0.01, betas=(0.9, 0.98), eps=1e-8)
    for step in range(20):
        grad = torch.randn(7)
        ours.grad, theirs.grad = grad.clone(), grad.clone()
        optimizer.step(step)
        reference.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_tokenizers_know_every_word(tmp_path: Path) -> None:
    clip, bert = clip_tokenizer(tmp_path / "clip"), bert_tokenizer(tmp_path / "bert")
    for word in THINGS:
        assert len(clip(word).input_ids) == 2 + len(word.split())
        assert bert.unk_token_id not in bert(word).input_ids
    said = clip.decode(clip("a Red car, on GRASS").input_ids, skip_special_tokens=True)
    assert said.split() == ["a", "red", "car", ",", "on", "grass"]
    assert clip("a dog").input_ids[-1] == len(clip) - 1


def test_fragment_keeps_halves_of_things_and_pure_ground() -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[5:25, 5:25] = 3
    regions = np.zeros((40, 40), int)
    regions[:, :16] = 1
    regions[30:, :] = 2
    rng = np.random.default_rng(0)
    seen = [fragment(labels, regions, [29], True, rng) for _ in range(20)]
    rights = {tuple(s.right) for s in seen if s}
    assert rights == {(2,), (29,)}
    for sample in seen:
        assert sample is not None
        if sample.right == [2]:
            assert (labels[sample.mask] == 3).sum() >= 200
        else:
            assert not labels[sample.mask].any()


def test_crude_kmeans_separates_colours() -> None:
    image = torch.zeros(2, 3, 32, 32)
    image[:, 0, :, :16] = 1
    labels = kmeans_labels(image, 2, np.random.default_rng(0))
    assert labels.shape == (2, 32, 32)
    assert len(labels[0, :, :16].unique()) == len(labels[0, :, 16:].unique()) == 1


def test_sober_caption_names_the_largest_first() -> None:
    things: list[tuple[int, str | None, list[int]]] = [(THINGS.index("dog"), None, [0] * 4), (THINGS.index("car"), "red", [0] * 4)]
    assert sober_caption(things, [10, 90], ("sky", "grass")) == "a red car and a dog on grass"
    assert sober_caption(things, [90, 10], ()) == "a dog and a red car"


def test_two_of_a_kind_are_counted_in_a_sober_caption() -> None:
    dog = THINGS.index("dog")
    things: list[tuple[int, str | None, list[int]]] = [(dog, "red", [0] * 4), (dog, None, [0] * 4)]
    assert sober_caption(things, [50, 50], ()) == "two dogs"


def test_cells_are_classes_where_they_are_mostly_one() -> None:
    labels = torch.zeros(1, 128, 128, dtype=torch.long)
    labels[:, :8, :8] = 3
    labels[:, :8, 8:12] = 3
    labels[:, 8:16, :8] = CLUTTER
    found = cells(labels, [24])[0].view(16, 16)
    assert found[0, 0] == 2
    assert found[0, 1] == -1  # half thing, half ground
    assert found[1, 0] == SOMETHING
    assert (found[2:] == 24).all()
    assert (cells(labels, [-1])[0].view(16, 16)[2:] == -1).all()


def test_pooled_is_the_mean_of_each_class_and_picture() -> None:
    torch.manual_seed(0)
    features, classes = torch.randn(2, 6, 5), torch.tensor([[0, 0, 3, -1, 3, 3], [3, -1, -1, 0, 0, 0]])
    means, found = pooled(features, classes)
    for k, (picture, c) in enumerate([(0, 0), (0, 3), (1, 0), (1, 3)]):
        mean = features[picture][classes[picture] == c].mean(0)
        assert int(found[k]) == c
        assert torch.allclose(means[k], mean / mean.norm(), atol=1e-6)
    assert len(found) == 4
    assert len(CLASSES) > 3


def test_value_path_is_the_one_that_dense_methods_read(tmp_path: Path) -> None:
    """What the patch loss trains equals ``dense_features``' "value" with its residual path."""
    from segwright.models.clip import Clip
    from segwright.models.clip_dense import dense_features
    from segwright.models.pixels import Pixels

    model = build(clip_tokenizer(tmp_path)).eval()
    pixels = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        ours = value_features(model, embed(model, pixels, None)[0][-2])
    clip = Clip(model, None, Pixels(128, (0.5,) * 3, (0.5,) * 3))
    theirs = dense_features(clip, pixels, "value").features.flatten(2).transpose(1, 2)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_start_takes_what_agrees_and_words_by_their_token(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = clip_tokenizer(tmp_path / "tokens")
    known = build(tokenizer)
    save_model(known, tmp_path / "clip")
    torch.manual_seed(1)
    other = build(tokenizer)
    shuffled = {t: (i * 7 + 3) % len(tokenizer) for t, i in tokenizer.get_vocab().items()}
    assert start_from(other, tmp_path / "clip", (tokenizer.get_vocab(), shuffled)) == len(known.state_dict())
    rows = [known.text_model.embeddings.token_embedding.weight, other.text_model.embeddings.token_embedding.weight]
    assert torch.allclose(rows[0][shuffled["dog</w>"]], rows[1][tokenizer.get_vocab()["dog</w>"]], atol=1e-2)
    assert torch.allclose(known.visual_projection.weight, other.visual_projection.weight, atol=1e-2)


def test_a_wider_mlp_begins_with_what_the_narrow_one_said(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wide = build(clip_tokenizer(tmp_path / "tokens")).eval()
    config = copy.deepcopy(wide.config)
    config.vision_config.intermediate_size //= 2
    narrow = CLIPModel(config).eval()
    save_model(narrow, tmp_path / "clip")
    assert start_from(wide, tmp_path / "clip") == len(narrow.state_dict())
    pixels = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        says, said = (m.get_image_features(pixels).pooler_output for m in (wide, narrow))
    assert torch.allclose(says, said, atol=0.01)  # float16 lies between them
    assert not torch.allclose(says, said.flip(0), atol=0.01)


def test_windows_hold_a_thing_and_lie_inside() -> None:
    labels = torch.zeros(2, 128, 128, dtype=torch.int64)
    labels[0, 100:120, 4:20] = 5
    labels[1, 60:70, 60:70] = CLUTTER
    for seed in range(20):
        kept = windows(labels, 6, np.random.default_rng(seed)).view(2, 16, 16)
        assert kept.sum((1, 2)).tolist() == [36, 36]
        rows, columns = kept[0].amax(1).nonzero(), kept[0].amax(0).nonzero()
        assert int(rows.max() - rows.min()) == int(columns.max() - columns.min()) == 5
        assert kept[0][11:15, :3].any()


def test_targets_of_a_window_are_the_things_in_it() -> None:
    classes = torch.tensor([[-1, 3, 3, 7], [-1, SOMETHING, 26, -1]])
    targets = seen_things(classes)
    assert targets[0].nonzero().flatten().tolist() == [3, 7]
    assert targets[0, 3] == 0.5
    assert targets[1].nonzero().flatten().tolist() == UNNAMED
    assert torch.allclose(targets.sum(1), torch.ones(2))


def test_the_guide_reads_a_region_by_its_filled_patches() -> None:
    torch.manual_seed(0)
    model = guide.Guide(len(CLASSES)).eval()
    pixels = torch.randn(2, 3, 128, 128)
    features, half_way = model(pixels)
    assert half_way.shape == (2, guide.WIDTHS[2], 16, 16)
    assert features.shape == (2, guide.FEATURES, 16, 16)
    share = torch.zeros(2, 256)
    share[:, 17] = 0.3
    assert torch.allclose(model.pooled(features, share), model.logits(features)[:, 17], atol=1e-5)
    black = torch.cat([pixels[:1], pixels[:1]])
    black[1, :, :64] = -10
    assert content(black)[0].min() > 0.9
    assert content(black)[1].view(16, 16)[:8].max() == 0


def test_the_teacher_says_what_its_file_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = guide.Guide(len(CLASSES))
    model.train()(torch.randn(8, 3, 128, 128))  # batch norms that are not as they begin
    (tmp_path / "training").mkdir()
    guide._save(model.eval(), tmp_path / "training" / guide.FILE)
    teacher = guide.Teacher(render(tmp_path / "scenes", 4, 0), tmp_path, "cpu")
    pixels = torch.randn(2, 3, 128, 128)
    assert torch.allclose(teacher(pixels)[0], model(pixels)[0], atol=1e-4)


def test_small_things_count_more_than_their_patches() -> None:
    classes = torch.tensor([[2, 2, 2, 2, 5, -1]])
    weights = guide.even(classes)
    assert torch.allclose(weights.sum(), torch.tensor(1.0))
    assert torch.allclose(weights[4] / weights[0], torch.tensor(2.0))


def test_every_stage_trains_and_the_preset_loads(tmp_path: Path) -> None:
    """Two steps a stage on 24 scenes: worthless weights in the real layout, opened by the libraries' own loaders."""
    from diffusers import AutoencoderTiny, StableDiffusionPipeline
    from transformers import BlipForConditionalGeneration, CLIPModel

    from segwright.mini.train import captioner, clip, diffusion, groupvit, vae, vit
    from segwright.mini.train.run import Settings, train_preset
    from segwright.mini.train.stages import STAGES
    from segwright.weights import load

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip, "PHASES", ((0.5, 6, 4, 32, 9), (1.0, 2, 2, None, None)))
        patch.setattr(guide, "MASKED", 4)
        patch.setattr(guide, "WHOLE", 3)
        for module in (captioner, groupvit, vit):
            patch.setattr(module, "BATCH", 4)
        patch.setattr(diffusion, "BATCH", 4)
        patch.setattr(diffusion, "WHOLE_BATCH", 2)
        patch.setattr(vae, "CROPS", ((0.5, 32, 2), (1.0, 64, 2)))
        for needy, needed in (("tiny-vae", "vae"), ("clip", "guide.safetensors")):
            with pytest.raises(InputError, match=rf"stage {needy} needs .*{needed}"):
                train_preset(Settings(tmp_path, needy, scenes=24, steps=2))
        for stage in STAGES:
            train_preset(Settings(tmp_path, stage, scenes=24, steps=2))
    assert not list(tmp_path.rglob("*.part")) + list(tmp_path.rglob("*.old"))
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a dog", num_inference_steps=2, output_type="np").images.shape == (1, 128, 128, 3)
    assert CLIPModel.from_pretrained(tmp_path / "clip", local_files_only=True).config.projection_dim == 128
    tiny = AutoencoderTiny.from_pretrained(tmp_path / "tiny_vae", local_files_only=True)
    assert tiny.encode(torch.zeros(1, 3, 128, 128)).latents.shape == (1, 4, 32, 32)
    captions = BlipForConditionalGeneration.from_pretrained(tmp_path / "captioner", local_files_only=True)
    assert captions.config.text_config.vocab_size < 200
    networks = load(tmp_path, "cpu")
    assert networks.dino.features([np.zeros((64, 64, 3), np.uint8)]).shape == (1, 144, 16, 16)
    assert networks.mae.features([np.zeros((64, 64, 3), np.uint8)]).shape == (1, 144, 16, 16)
    assert networks.groupvit.groups(torch.zeros(1, 3, 128, 128)).assignment.shape[0] == 1


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    from segwright.mini.train.run import Settings, train_preset

    with pytest.raises(InputError, match="stage must be one of"):
        train_preset(Settings(tmp_path, "unet"))
    with pytest.raises(InputError, match="must be positive"):
        train_preset(Settings(tmp_path, minutes=-1))
    with pytest.raises(InputError, match="--start names a preset's folder"):
        train_preset(Settings(tmp_path, start=tmp_path / "none"))
