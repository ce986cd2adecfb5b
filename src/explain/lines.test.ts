import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LineSplitter, LONGEST_LINE, stripPrefixes } from './lines.ts'

const MESSAGE = 'DMAR: DRHD: handling fault status reg 3'

describe('prefixes', () => {
  it.each([
    ['dmesg', '[   12.345678] '],
    ['dmesg with the CPU or task', '[   12.345678][ T1234] '],
    ['dmesg with the CPU in a field of its own', '[   12.345678] [    C0] '],
    ['dmesg -d', '[  +0.000398] '],
    ['dmesg -T', '[Thu Oct 22 12:34:56 2020] '],
    ['dmesg -T, in German', '[Do Okt 22 12:34:56 2020] '],
    ['dmesg -H', '[Oct22 12:34] '],
    ['dmesg -x', 'kern  :err   : [   12.345678] '],
    ['a priority', '<3>[   12.345678] '],
    ['syslog', 'May  3 17:35:46 some-host kernel: [  278.999480] '],
    ['journalctl', 'Nov 14 11:52:19 host kernel: '],
    ['journalctl -o short-monotonic', '[   12.345678] host kernel: '],
    ['journalctl -o short-iso', '2024-02-03T04:05:06+0100 host kernel: '],
    ['a time only', '01:46:35 '],
    ['OpenWrt', 'Mon Jan  1 00:00:00 2024 kern.err kernel: [   12.345678] '],
    ['Android', '01-02 03:04:05.678     0     0 E '],
    ['Xen', '(XEN) [2024-02-03 04:05:06] '],
    ['a mail', '> >>> > '],
    ['a mail that quotes syslog', '> > May  3 17:35:46 host kernel: [   12.345678] '],
    ['grep -n', '123:[   12.345678] '],
    ['a terminal in colour', '\u001b[32m[   12.345678] \u001b[0m'],
    ['a log out of a memory dump', '0x000000000277BBFA |   1263.468579:   '],
  ])('of %s are taken away', (_, prefix) => {
    expect(stripPrefixes(`${prefix}${MESSAGE}`)).toBe(MESSAGE)
  })

  it('are no part of a message that looks like one', () => {
    expect(stripPrefixes('[DMA Read] Request device [00:02.0]')).toBe('[DMA Read] Request device [00:02.0]')
    expect(stripPrefixes('0x0000010000000010')).toBe('0x0000010000000010')
  })

  it('taken away twice are taken away once', () => {
    const piece = fc.constantFrom(
      '> ',
      '[ 1.2] ',
      'kernel: ',
      '(XEN) ',
      '<3>',
      'May  3 17:35:46 ',
      '12:34:56 ',
      '| ',
      'kern.err ',
      'x',
      ' ',
      '[T1]',
    )
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(piece).map((parts) => parts.join('')),
        ),
        (text) => {
          const once = stripPrefixes(text)
          expect(stripPrefixes(once)).toBe(once)
        },
      ),
    )
  })
})

describe('lines', () => {
  const lines = (...pieces: string[]) => {
    const splitter = new LineSplitter()
    for (const piece of pieces) splitter.push(piece)
    splitter.end()
    return splitter.lines
  }

  it('are the same in whatever pieces the text comes', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', 'bc', '\n', ' ', '\r\n')), (pieces) => {
        expect(lines(...pieces)).toEqual(lines(pieces.join('')))
      }),
    )
  })

  it('know their number, and whether something shows that a message begins', () => {
    expect(lines('a\n\n[ 1.0] b').map(({ number, text, stamped }) => [number, text, stamped])).toEqual([
      [1, 'a', false],
      [2, '', false],
      [3, 'b', true],
    ])
  })

  it('that are too long are cut, and say so', () => {
    const [long, next] = lines('x'.repeat(LONGEST_LINE), 'y'.repeat(100), '\nnext')
    expect(long).toMatchObject({ cut: true, text: 'x'.repeat(LONGEST_LINE) })
    expect(next).toMatchObject({ cut: false, text: 'next', number: 2 })
  })
})
