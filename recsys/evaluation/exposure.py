"""Metrics of all lists together: what the users' top-k lists make of the catalogue, and of groups of items and users.

Notation: e_i is the expected number of users whose top k holds item i, of n items.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys.evaluation.lists import ListStatistics, needs, of_all_lists, takes


@of_all_lists
def coverage(lists: ListStatistics, k: int) -> float:
    """Expected share of the catalogue that stands in at least one user's top k.
    Herlocker et al., Evaluating collaborative filtering recommender systems, ACM TOIS 22 (2004)."""
    return float(lists.listed(k).mean())


@of_all_lists
def popularity(lists: ListStatistics, k: int) -> float:
    """Mean over users of the mean training count of the items in their top k."""
    return lists.mean_count(k)


@of_all_lists
def popularity_lift(lists: ListStatistics, k: int) -> float:
    """(q - p) / p, where p is the mean training count of the items that a user is known to have, q that of the items
    in their top k, each the mean over users who are known to have any. 0: lists are as popular as what users took; 1:
    twice as popular. Abdollahpouri et al., The connection between popularity bias, calibration, and fairness in
    recommendation, RecSys 2020 (arXiv 2008.09273), of one group of all users; 0 where nobody is known to have
    anything."""
    of_lists, known = lists.mean_counts_of_known(k)
    return of_lists / known - 1.0 if known else 0.0


@of_all_lists
def gini(lists: ListStatistics, k: int) -> float:
    """Gini index of how often items are listed: 0 where all are listed alike, near 1 where few take all lists.
    sum_j (2 j - n - 1) e_(j) / (n sum e), e_(1) <= ... <= e_(n) over the whole catalogue.
    Fleder and Hosanagar, Blockbuster culture's next rise or fall, Management Science 55 (2009)."""
    exposure = np.sort(lists.exposure(k))
    n = len(exposure)
    return float((2.0 * np.arange(1, n + 1) - n - 1) @ exposure / (n * exposure.sum()))


@of_all_lists
def entropy(lists: ListStatistics, k: int) -> float:
    """Shannon entropy of how often items are listed, in bits: 0 where one item takes all lists, log2 n where all are
    listed alike. -sum p_i log2 p_i of the shares p_i = e_i / sum e, as in
    Szlavik, Kowalczyk and Schut, Diversity measurement of recommender
    systems under different user choice models, ICWSM 2011."""
    exposure = lists.exposure(k)
    share = exposure[exposure > 0] / exposure.sum()
    return float(-(share * np.log2(share)).sum())


@of_all_lists
@takes("item group")
def exposure_gap(lists: ListStatistics, k: int, groups: str) -> float:
    """How unequally groups of items are recommended: standard deviation over mean, over the groups, of the probability
    that an item of the group is recommended to a user who does not have it. 0: all groups alike. The ranking-based
    statistical parity (RSP) of Zhu, Wang and Caverlee, Measuring and mitigating item under-recommendation bias in
    personalized ranking systems, SIGIR 2020. Groups are the values of an item attribute, or "popularity": head, tail
    and cold items."""
    return _dispersion(lists.exposure(k), lists.candidates, lists.facts.item_groups(groups)[1])


@of_all_lists
@takes("item group")
def opportunity_gap(lists: ListStatistics, k: int, groups: str) -> float:
    """How unequally items are found by who would take them: standard deviation over mean, over groups of items, of the
    probability that a test item of the group is in its user's top k. 0: all groups alike. The ranking-based equal
    opportunity (REO) of Zhu, Wang and Caverlee, SIGIR 2020. Groups as in `exposure_gap`."""
    return _dispersion(lists.found(k), lists.wanted, lists.facts.item_groups(groups)[1])


def _dispersion(counted: np.ndarray, possible: np.ndarray, member: sp.csr_array) -> float:
    """Standard deviation over mean of the groups' shares counted / possible; groups where nothing is possible are left
    out, and where no share is above 0 the value is 0."""
    below = possible @ member
    shares = (counted @ member)[below > 0] / below[below > 0]
    return float(shares.std() / shares.mean()) if len(shares) and shares.mean() > 0 else 0.0


@of_all_lists
@takes("user group")
@needs("ndcg")
def user_gap(lists: ListStatistics, k: int, groups: str) -> float:
    """Difference of the mean NDCG@k of the group of users who are served best and of the one who are served worst. The
    user-oriented unfairness of Li et al., User-oriented fairness in recommendation, WWW 2021 (arXiv 2104.10671), there
    of two groups. Groups are the values of a user attribute, or "activity": three parts of about one size by training
    interactions. Groups without tested users are left out; small groups make gaps by chance."""
    member = lists.facts.user_groups(groups)[1][lists.users]
    sizes = np.asarray(member.sum(axis=0)).ravel()
    means = (lists.user_values[f"ndcg@{k}"] @ member)[sizes > 0] / sizes[sizes > 0]
    return float(means.max() - means.min()) if len(means) else 0.0
