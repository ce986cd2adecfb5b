import { describe, expect, it } from 'vitest'
import { device, space } from './fixtures.suite.ts'
import { count, deviceSays, grouped, spaceAbout, spaceMaps, spaceName, wrap } from './words.ts'

describe('count and grouped', () => {
  it('mind the plural and set commas', () => {
    expect([count(1, 'device'), count(0, 'device'), count(12345, 'entry', 'entries')]).toEqual([
      '1 device',
      '0 devices',
      '12,345 entries',
    ])
    expect([999, 1000, 1234567n].map(grouped)).toEqual(['999', '1,000', '1,234,567'])
  })
})

describe('spaces in words', () => {
  const of = (role: 'io_pgtable' | 'io_mm' | 'private' | 'unknown', label: string, given = {}) =>
    space('s', { role, label, root: 0x1000n, ...given })
  it('name the role, and the rest beside it', () => {
    expect(['io_pgtable', 'io_mm', 'private', 'unknown'].map((role) => spaceName(of(role as 'io_mm', 'mm X')))).toEqual([
      'io_pgtable',
      'io_mm → mm X',
      'io_mm → private',
      'page table',
    ])
    expect(spaceAbout(of('io_pgtable', 'domain A'))).toBe('domain A')
    expect(spaceAbout(of('io_pgtable', 'VM', { stage: 2 }))).toBe('stage 2, VM')
    expect(spaceAbout(of('private', 'private'))).toBe('')
  })

  it('say what is mapped, and when not all was read', () => {
    const range = { start: 0n, end: 0x3000n, output: 0n, rights: 3, leaves: new Map([[12, 3]]) }
    expect(spaceMaps(of('io_mm', 'a'))).toBe('empty')
    expect(spaceMaps(of('io_mm', 'a', { complete: false }))).toBe('not read to the end')
    expect(spaceMaps(of('io_mm', 'a', { ranges: [range] }))).toBe('12 KiB in 1 range')
    expect(spaceMaps(of('io_mm', 'a', { ranges: [range], complete: false }))).toBe('≥ 12 KiB in ≥ 1 range')
    expect(spaceMaps(of('io_pgtable', 'a', { root: null }))).toBe('not translated')
  })
})

describe('deviceSays', () => {
  it('gives the domain by name, or what the entry does without tables', () => {
    expect(deviceSays(device(0, 'a', { domain: 'A', pasidTable: 't' }))).toBe('domain A')
    expect(deviceSays(device(0, 'a', { domain: 'my domain', pasidTable: 't' }))).toBe('my domain')
    expect(deviceSays(device(0, 'a', { domain: 'A', state: 'bypass' }))).toBe('bypass')
    expect(deviceSays(device(0, 'a'))).toBe('')
  })
})

describe('wrap', () => {
  it('breaks between words only, and loses none', () => {
    expect(wrap('aa bb cc dddddd e', (line) => line.length <= 5)).toEqual(['aa bb', 'cc', 'dddddd', 'e'])
    expect(wrap('', () => true)).toEqual([''])
  })
})
