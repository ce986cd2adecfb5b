import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ascii, charColumns, clean, columns, cut, pad, speaker } from './clean.ts'

describe('clean', () => {
  it('leaves ordinary names alone, in any script', () => {
    for (const name of ['nic', '0000:00:06.0', 'mm Y', 'Größe', '設備', 'ящик', '🚀 gpu']) expect(clean(name)).toBe(name)
  })

  it('removes terminal escapes whole, terminated or not', () => {
    expect(clean('\u001b[31mred\u001b[0m')).toBe('red')
    expect(clean('\u001b]0;title\u0007name')).toBe('name')
    expect(clean('\u001b]8;;http://x\u001b\\link\u001b]8;;\u001b\\')).toBe('link')
    expect(clean('a\u009b2Jb')).toBe('ab')
    expect(clean('a\u001b[')).toBe('a')
    expect(clean('a\u001bcb')).toBe('ab')
  })

  it('shows other control characters as ? and line breaks as a blank', () => {
    expect(clean('a\u0000b\u0007c\u007f')).toBe('a?b?c?')
    expect(clean(' a\r\n\tb\u2028c ')).toBe('a b c')
  })

  it('removes what reorders or hides text', () => {
    expect(clean('a\u202egnp.exe')).toBe('agnp.exe')
    expect(clean('a\u200bb\ufeff')).toBe('ab')
    expect(clean(`z${'\u0301'.repeat(50)}`)).toHaveLength(1)
  })

  it('shows lone surrogates and noncharacters as ?, which XML could not hold', () => {
    expect(clean('a\ud800b\ufffe')).toBe('a?b?')
  })

  it('never lets through a control, format or unpaired character, whatever it is given, and cleans only once', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
        const once = clean(text)
        expect(once).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\p{Cn}\p{Co}\p{M}\u2028\u2029]/u)
        expect(clean(once)).toBe(once)
      }),
      { numRuns: 200 },
    )
  })

  it('does not choke on long hostile text', () => {
    for (const piece of ['\u001b]', '\u001b[', '\u001bP', ' ', '\u0301', '\u009b0'])
      expect(clean(piece.repeat(100_000)).length).toBeLessThanOrEqual(201)
  })
})

describe('columns, cut and pad', () => {
  it('count wide characters as two', () => {
    expect(columns('abc')).toBe(3)
    expect(columns('設備')).toBe(4)
    expect(columns('🚀')).toBe(2)
    expect(columns('→…│')).toBe(3)
  })

  it('keep within the limit and show that something is left out', () => {
    expect(cut('abcdef', 6)).toBe('abcdef')
    expect(cut('abcdefg', 6)).toBe('abcde…')
    expect(cut('設備名前', 4)).toBe('設…')
    expect(cut('abc', 0)).toBe('')
    expect(pad('ab', 4)).toBe('ab  ')
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 30 }), fc.integer({ min: 0, max: 30 }), (text, limit) => {
        expect(columns(cut(clean(text), limit))).toBeLessThanOrEqual(limit)
        expect(columns(pad(clean(text), limit))).toBe(limit)
      }),
    )
  })
})

describe('ascii', () => {
  it('replaces what has a likeness, and marks the rest', () => {
    expect(ascii('io_mm → mm X … ≥ 3 × 4')).toBe('io_mm -> mm X ... >= 3 x 4')
    expect(ascii('設')).toBe('?')
  })

  it('marks what is cut in its own characters', () => {
    expect(speaker(true)('abcdefgh', 6)).toBe('abc...')
    expect(speaker(false)('abcdefgh', 6)).toBe('abcde…')
    expect(speaker(true)('abcdef', 2)).toBe('..')
  })
})

describe('the short cuts for plain text', () => {
  it('count as the long way does, for every character that they take', () => {
    for (let code = 0; code < 0x2600; code++) {
      const char = String.fromCharCode(code)
      expect([code, columns(char)]).toEqual([code, charColumns(char)])
    }
  })
})
