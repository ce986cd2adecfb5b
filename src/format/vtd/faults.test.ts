import { describe, expect, it } from 'vitest'
import { FAULT_NAMES, FAULT_REASONS, faultReason, faultText } from './faults.ts'

describe('fault reasons', () => {
  it('have each code and each name once', () => {
    expect(new Set(FAULT_REASONS.map(({ code }) => code)).size).toBe(FAULT_REASONS.length)
    expect(new Set(FAULT_REASONS.map(({ name }) => name)).size).toBe(FAULT_REASONS.length)
  })

  it('are told apart by their range: legacy, interrupts, scalable', () => {
    for (const { code, group } of FAULT_REASONS)
      expect([code, group]).toEqual([code, code < 0x10 ? 'legacy' : code < 0x30 ? 'interrupt' : 'scalable'])
  })

  it('are numbered as the appendix of fault reasons has them', () => {
    const codes = Object.fromEntries(FAULT_REASONS.map(({ name, code }) => [name, code]))
    expect(codes).toMatchObject({ 'LRT.1': 8, 'LRT.2': 1, 'LRT.3': 0xa, 'LCT.1': 9, 'LCT.5': 0xd, 'LSS.1': 7, 'LGN.4': 0xe })
    expect(codes).toMatchObject({ 'SRT.1': 0x38, 'SCT.9': 0x48, 'SPD.3': 0x52, 'SPT.6': 0x5d, 'SFS.8': 0x77, 'SSS.6': 0x7d })
    expect(codes).toMatchObject({ 'SGN.1': 0x80, 'SGN.10': 0x89, 'SFS.9': 0x90, 'SFS.10': 0x91, 'RTA.4': 0x33 })
  })

  it('are qualified once an entry with FPD has been read, and not before', () => {
    const unqualified = FAULT_REASONS.filter(({ qualified }) => !qualified).map(({ name }) => name)
    expect(unqualified).toEqual([
      ...['LRT.2', 'LRT.1', 'LCT.1', 'LRT.3', '20h', '21h', '23h', '25h', '29h', 'RTA.1', 'RTA.2', 'RTA.3', 'RTA.4'],
      ...['SRT.1', 'SRT.2', 'SRT.3', 'SCT.1', 'SPD.1', 'SPT.1'],
    ])
  })

  it('are told in words, and codes that nobody defined by number', () => {
    expect(faultReason(0x71)).toMatchObject({ name: 'SFS.2', qualified: true })
    expect(faultReason(0x60)).toBe(null)
    expect(faultText(2)).toBe('context entry is not present (LCT.2, fault reason 0x2)')
    expect(faultText(0x60)).toBe('fault reason 0x60')
    expect(FAULT_NAMES[0x81]).toBe('SGN.2: unprivileged request to a supervisor page')
  })
})
