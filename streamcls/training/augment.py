"""Augmentation of batches of log-mel windows in decibels, shape (batch, n_frames, n_bands). Training windows only.

Two sounds are added by adding the powers of their bands: the cross term of a mixture, which is zero on average, is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from streamcls.training.recipe_tables import AugmentationTable
    from streamcls.types import FloatArray

__all__ = ["Augmenter", "add_powers", "level_of"]

_KNOTS: Final = 7
"""Points of the random equalisation curve: about one for every one to two octaves."""
_CUT_DB: Final = 60.0
"""How far a cut band falls."""
_LARGEST_CUT: Final = 0.4
"""Largest part of the bands that a band limit takes, from either end."""
_NOISE_SHAPE: Final = 4.0
"""Shape of the gamma distribution of a noise's band power: what about four independent spectral bins give."""
_NOISE_SLOPE_DB: Final = 12.0
"""Standard deviation of the level of a noise's bands."""
_TINY: Final = 1e-12


def level_of(bands: FloatArray) -> FloatArray:
    """Return the mean power of each window in decibels, shape (batch,)."""
    power = np.power(10.0, bands / 10.0, dtype=np.float32).mean(axis=(1, 2))
    return np.asarray(10.0 * np.log10(np.maximum(power, _TINY)), np.float32)


def add_powers(first: FloatArray, second: FloatArray) -> FloatArray:
    """Add two sounds given in decibels."""
    softer = np.power(10.0, -np.abs(first - second) / 10.0, dtype=np.float32)
    return np.asarray(np.maximum(first, second) + 10.0 * np.log10(1.0 + softer), np.float32)


class Augmenter:
    """Draws and applies augmentations; deterministic by its generator."""

    def __init__(self, table: AugmentationTable, floor_db: float, rng: np.random.Generator) -> None:
        self._table = table
        self._floor = np.float32(floor_db)
        self._rng = rng

    def colour(self, bands: FloatArray) -> FloatArray:
        """Shift along the bands and equalise: what another recording of the same sound changes. Before mixing."""
        bands = self._shift(bands) if self._table.shift_bands else bands
        if self._table.equalise_db:
            bands = bands + self._curves(len(bands), bands.shape[2], self._table.equalise_db)[:, None, :]
        return np.maximum(bands, self._floor)

    def mix(self, first: FloatArray, second: FloatArray, snr_db: FloatArray) -> FloatArray:
        """Add a second sound, so much softer than the first that their levels differ by ``snr_db``, shape (batch,)."""
        gain = level_of(first) - level_of(second) - snr_db
        return add_powers(first, np.maximum(second + gain[:, None, None], self._floor))

    def noise(self, shape: tuple[int, ...]) -> FloatArray:
        """Return stationary noise of random spectra at 0 dB."""
        batch, frames, bands = shape
        power = self._rng.gamma(_NOISE_SHAPE, 1.0 / _NOISE_SHAPE, (batch, frames, bands))
        values = 10.0 * np.log10(np.maximum(power, _TINY)) + self._curves(batch, bands, _NOISE_SLOPE_DB)[:, None, :]
        return np.asarray(values, np.float32)

    def channel(self, bands: FloatArray) -> FloatArray:
        """Add noise, limit the band, change the level, mask and jitter: what a channel does to the whole. After mixing."""
        table, rng, batch = self._table, self._rng, len(bands)
        noisy = np.flatnonzero(rng.random(batch) < table.noise)
        if len(noisy):
            snr = rng.uniform(*table.noise_snr_db, len(noisy)).astype(np.float32)
            bands = bands.copy()
            bands[noisy] = self.mix(bands[noisy], self.noise((len(noisy), *bands.shape[1:])), snr)
        bands = self._limit(bands) if table.band_limit else bands
        if any(table.gain_db):
            bands = bands + rng.uniform(*table.gain_db, (batch, 1, 1)).astype(np.float32)
        bands = np.maximum(bands, self._floor)
        if table.jitter_db:
            deviation = rng.uniform(0.0, table.jitter_db, (batch, 1, 1)).astype(np.float32)
            bands = bands + rng.standard_normal(bands.shape, np.float32) * deviation
        for axis, share in ((1, table.time_mask), (2, table.band_mask)):
            bands = self._mask(bands, axis, share) if share else bands
        return bands

    def _curves(self, batch: int, n_bands: int, deviation_db: float) -> FloatArray:
        knots = self._rng.normal(0.0, deviation_db, (batch, _KNOTS))
        position = np.linspace(0.0, _KNOTS - 1.0, n_bands)
        left = np.minimum(position.astype(int), _KNOTS - 2)
        weight = 0.5 - 0.5 * np.cos(np.pi * (position - left))
        return np.asarray(knots[:, left] * (1.0 - weight) + knots[:, left + 1] * weight, np.float32)

    def _shift(self, bands: FloatArray) -> FloatArray:
        most = self._table.shift_bands
        shifts = self._rng.integers(-most, most + 1, len(bands))
        index = np.clip(np.arange(bands.shape[2])[None, :] - shifts[:, None], 0, bands.shape[2] - 1)
        shifted: FloatArray = np.take_along_axis(bands, np.broadcast_to(index[:, None, :], bands.shape), axis=2)
        return shifted

    def _limit(self, bands: FloatArray) -> FloatArray:
        batch, _, n = bands.shape
        cut = self._rng.random((batch, 2)) < self._table.band_limit
        parts = (self._rng.random((batch, 2)) * _LARGEST_CUT * cut * n).astype(int)
        # The lowest bands are narrow and carry the bass: at most half as many of them are cut.
        index = np.arange(n)[None, :]
        outside = (index < parts[:, :1] // 2) | (index >= n - parts[:, 1:])
        limited: FloatArray = bands - np.float32(_CUT_DB) * outside[:, None, :].astype(np.float32)
        return limited

    def _mask(self, bands: FloatArray, axis: int, share: float) -> FloatArray:
        batch, n = len(bands), bands.shape[axis]
        length = (self._rng.random(batch) * share * n).astype(int)
        start = (self._rng.random(batch) * (n - length + 1)).astype(int)
        index = np.arange(n)[None, :]
        inside: np.ndarray[Any, Any] = (index >= start[:, None]) & (index < (start + length)[:, None])
        inside = inside[:, :, None] if axis == 1 else inside[:, None, :]
        return np.where(inside, bands.mean(axis=(1, 2), keepdims=True), bands)
