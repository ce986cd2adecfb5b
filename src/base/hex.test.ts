import { describe, expect, it } from 'vitest'
import { about } from './hex.ts'

describe('about', () => {
  it('says short exact sizes exactly and others to three digits', () => {
    expect([0n, 1n, 4096n, 1036n << 10n, 1n << 48n, 1n << 64n].map(about)).toEqual([
      '0 B',
      '1 B',
      '4 KiB',
      '1036 KiB',
      '256 TiB',
      '16 EiB',
    ])
    expect([(1n << 30n) + 4096n, 123456n << 10n, 1n + (150n << 20n), (1n << 64n) - 1n].map(about)).toEqual([
      '1.00 GiB',
      '121 MiB',
      '150 MiB',
      '16.0 EiB',
    ])
  })
})
