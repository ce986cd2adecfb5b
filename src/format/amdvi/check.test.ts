import { describe, expect, it } from 'vitest'
import { encode, setBits } from '../../base/layout.ts'
import { checkDte, checkDteInterrupts, DTE_RULES } from './check.ts'
import { DTE } from './dte.ts'
import { anyFeatures } from './features.suite.ts'

type Dte = Parameters<typeof encode<typeof DTE.fields>>[1]
const words = (dte: Dte) => Int32Array.from(encode(DTE, { V: 1, TV: 1, IV: 1, ...dte }))
const rule = (dte: Dte, features = anyFeatures()) => checkDte(words(dte), 0, features)

describe('device table entries', () => {
  it('of each kind are legal', () => {
    expect(rule({})).toBe(0)
    expect(rule({ Mode: 6, HAD: 3, IR: 1, IW: 1, DomainID: 0xffff, I: 1, SE: 1, EX: 1, SATS: 1 })).toBe(0)
    expect(rule({ GV: 1, GIOV: 1, GLX: 2, GuestPagingMode: 1, PPR: 1, GPRP: 1, SysMgt: 3, IoCtl: 2 })).toBe(0)
    expect(checkDteInterrupts(words({ IntCtl: 2, IntTabLen: 11, InitPass: 1, HPTMode: 1 }), 0)).toBe(0)
  })

  it('have 6 reserved bits in their first half and 2 in their interrupt fields; others are not checked', () => {
    const found = (check: (dte: Int32Array) => number, wanted: number) =>
      Array.from({ length: 256 }, (_, bit) => bit).filter((bit) => {
        const dte = words({})
        setBits(dte, bit, bit, 1)
        return check(dte) === wanted
      })
    expect(found((dte) => checkDte(dte, 0, anyFeatures()), 1)).toEqual([2, 3, 4, 5, 6, 63])
    expect(found((dte) => checkDteInterrupts(dte, 0), 11)).toEqual([180, 181])
  })

  it.each<[number, Dte, Parameters<typeof anyFeatures>[0]]>([
    [2, { Mode: 7 }, {}],
    [3, { Mode: 5 }, { HATS: 0 }],
    [3, { Mode: 6 }, { HATS: 1 }],
    [3, { Mode: 1 }, { HATS: 3 }],
    [4, { HAD: 2 }, {}],
    [4, { HAD: 1 }, { HASup: 0 }],
    [4, { HAD: 3 }, { HDSup: 0 }],
    [5, { PPR: 1 }, { PPRSup: 0 }],
    [5, { GPRP: 1 }, { PPRSup: 0 }],
    [6, { GIOV: 1 }, { GIOSup: 0 }],
    [7, { GV: 1 }, { GTSup: 0 }],
    [8, { GV: 1, GLX: 3 }, {}],
    [8, { GV: 1, GLX: 2 }, { GLXSup: 1 }],
    [9, { GV: 1, GuestPagingMode: 2 }, {}],
    [9, { GV: 1, GuestPagingMode: 1 }, { GATS: 0 }],
    [10, { IoCtl: 3 }, {}],
  ])('break rule %i alone', (number, dte, efr) => {
    expect(rule(dte, anyFeatures(efr))).toBe(number)
    // What breaks a feature's rule is legal where the feature is there.
    if (Object.keys(efr ?? {}).length > 0) expect(rule(dte)).toBe(0)
  })

  it.each([
    [12, { IntTabLen: 12 }],
    [13, { IntCtl: 3 }],
  ])('break rule %i of the interrupt fields alone', (number, dte) => {
    expect(checkDteInterrupts(words(dte), 0)).toBe(number)
    expect(rule(dte)).toBe(0)
    expect(checkDteInterrupts(words({ ...dte, IV: 0 }), 0)).toBe(0)
  })

  it('are not looked at where V is 0; the translation fields are not where TV is 0, nor guest ones where GTEn is 0', () => {
    const bad = { Mode: 7, GV: 1, GLX: 3 }
    expect(rule({ ...bad, V: 0, IoCtl: 3 })).toBe(0)
    expect(rule({ ...bad, TV: 0 })).toBe(0)
    expect(rule({ TV: 0, IoCtl: 3 })).toBe(10)
    expect(rule({ GV: 1, GLX: 3 }, anyFeatures({}, { GTEn: 0 }))).toBe(0)
  })

  it('tell the event whether a reserved value or a level is wrong, and where the manual says so', () => {
    const levels = DTE_RULES.flatMap(({ text, reserved }, at) => (text !== '' && !reserved ? [at] : []))
    expect(levels).toEqual([2, 3, 8, 9])
    expect(DTE_RULES.every(({ section }) => /^2\.2\.2/.test(section))).toBe(true)
  })
})
