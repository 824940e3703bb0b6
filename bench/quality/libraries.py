"""The libraries that densityd is compared with, on the same rows in the same run: zuko's flows and scikit-learn's
detectors of anomalies."""

import time

import numpy
import sklearn
import torch
from figures import area_under_curve, over_seeds
from peers import VERSIONS, zuko_flow
from recipe import BATCH, CLIP_NORM, HIDDEN, LEARNING_RATE, TRANSFORMS, VALIDATION_INTERVAL
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor


def _log_prob(flow, rows):
    """(N,), nats."""
    with torch.no_grad():
        return torch.cat([flow().log_prob(chunk) for chunk in torch.from_numpy(rows).split(4096)]).double().numpy()


def _train(preset, rows, steps, seed):
    """log p of the test rows, (N,), and the seconds of the training. `rows`: to train on, to validate with, to test on."""
    train, validation, test = rows
    torch.manual_seed(seed)
    flow = zuko_flow(preset, train.shape[1], HIDDEN, TRANSFORMS)
    optimizer = torch.optim.Adam(flow.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    train = torch.from_numpy(train)
    best, best_weights = -numpy.inf, None
    begin = time.perf_counter()
    order = torch.randperm(len(train))
    at = 0
    for step in range(1, steps + 1):
        if at + BATCH > len(train):
            order, at = torch.randperm(len(train)), 0
        loss = -flow().log_prob(train[order[at:at + BATCH]]).mean()
        at += BATCH
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), CLIP_NORM)
        optimizer.step()
        schedule.step()
        if step % VALIDATION_INTERVAL == 0 or step == steps:
            mean = _log_prob(flow, validation).mean()
            if mean > best:
                best, best_weights = mean, {key: value.clone() for key, value in flow.state_dict().items()}
    seconds = time.perf_counter() - begin
    flow.load_state_dict(best_weights)
    return _log_prob(flow, test), seconds


class Libraries:
    versions = {**{name: VERSIONS[name] for name in ("torch", "zuko")}, "scikit-learn": sklearn.__version__}

    def __init__(self):
        torch.set_num_threads(1)

    def zuko(self, _, preset, rows, steps, seeds):
        """Figures of zuko's `preset` (figures.over_seeds); `rows` are those of tables.load."""
        return over_seeds([_train(preset, rows, steps, seed) for seed in range(seeds)])

    def detectors(self, _, seed, train, test, labels):
        """The area under the ROC curve of each detector."""
        forest = IsolationForest(random_state=seed).fit(train)
        factor = LocalOutlierFactor(novelty=True).fit(train)
        return {"isolation forest": area_under_curve(-forest.score_samples(test), labels),
                "local outlier factor": area_under_curve(-factor.score_samples(test), labels)}
