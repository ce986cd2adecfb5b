import { describe, expect, it } from 'vitest'
import { reportOfText, reportsOf } from './logs.suite.ts'

const SMMU = 'arm-smmu-v3 1000000.iommu:'
const WORDS = ['0x00000a0000000010', '0x0000020800000000', '0x00000000fffe1000', '0x00000000fffe1000']
const event = (header = 'event 0x10 received:', words = WORDS, smmu = SMMU) =>
  [header, ...words].map((text) => `${smmu} ${text}`).join('\n')
const READ = {
  kind: 'dma-fault',
  device: 'sid:0xa00',
  pasid: null,
  address: '0xfffe1000',
  access: 'read',
  code: 16,
  name: 'F_TRANSLATION',
}

describe('SMMUv3 events', () => {
  it('out of their words', () => {
    const report = reportOfText(event())
    expect(report).toMatchObject(READ)
    expect(report.fields).toEqual({
      dwords: WORDS,
      sid: '0xa00',
      ssid_valid: false,
      ssid: null,
      class: 'IN',
      stage: 1,
      privileged: false,
      instruction: false,
      stall: false,
      stag: 0,
      ipa: null,
    })
  })

  it('out of words in halves, and of words without the name of an SMMU', () => {
    const halves = WORDS.map((word) => `0x${word.slice(2, 10)} ${word.slice(10)}`)
    expect(reportOfText(event('event 0x10 received:', halves))).toMatchObject(READ)
    expect(reportOfText(`${SMMU} event 0x10 received:\n${WORDS.join('\n')}`)).toMatchObject(READ)
  })

  it.each([
    ['a PASID', ['0x00000a0000005810', WORDS[1]!, WORDS[2]!, WORDS[3]!], { pasid: 5 }],
    ['a write', [WORDS[0]!, '0x0000020000000000', WORDS[2]!, WORDS[3]!], { access: 'write' }],
    ['an instruction fetch', [WORDS[0]!, '0x0000020c00000000', WORDS[2]!, WORDS[3]!], { access: 'execute' }],
    ['stage 2', [WORDS[0]!, '0x0000028800000000', WORDS[2]!, '0x0000000123456000'], { fields: { stage: 2, ipa: '0x123456000' } }],
    ['a stall', [WORDS[0]!, '0x0000020880000007', WORDS[2]!, WORDS[3]!], { fields: { stall: true, stag: 7 } }],
  ])('with %s', (_, words, expected) => {
    const report = reportOfText(event('event 0x10 received:', words))
    const { fields, ...rest } = { fields: {}, ...expected }
    expect(report).toMatchObject(rest)
    expect(report.fields).toMatchObject(fields)
  })

  it('of configuration have neither address nor direction, whatever the words hold', () => {
    const report = reportOfText(event('event 0x0a received:', ['0x00000a000000280a', '0x000010000000007e', '0x00000000034e8670']))
    expect(report).toMatchObject({ kind: 'config', pasid: 2, address: null, access: null, code: 10, name: 'C_BAD_CD' })
  })

  it('are one report with their decoded text, which names the device', () => {
    const decoded = `${SMMU} event: F_TRANSLATION client: 0000:0a:00.0 sid: 0xa00 ssid: 0x0 iova: 0xfffe1000 ipa: 0x0
${SMMU} unpriv data read s1 "Input address caused fault" stag: 0x0`
    expect(reportOfText(`${event()}\n${decoded}`)).toMatchObject({ ...READ, device: '0000:0a:00.0' })
    const alone = reportOfText(decoded)
    expect(alone).toMatchObject({ ...READ, device: '0000:0a:00.0' })
    expect(alone.fields).toMatchObject({ class: 'IN', stage: 1, ssid_valid: null })
  })

  it('of two SMMUs at once are told apart', () => {
    const other = 'arm-smmu-v3 2000000.iommu:'
    const first = event().split('\n')
    const second = event('event 0x10 received:', ['0x00000b0000000010', ...WORDS.slice(1)], other).split('\n')
    const mixed = first.flatMap((line, index) => [line, second[index]!]).join('\n')
    expect(reportsOf(mixed).map(({ device }) => device)).toEqual(['sid:0xa00', 'sid:0xb00'])
  })

  it('whose first line is missing are told by their words', () => {
    expect(reportOfText(WORDS.map((word) => `${SMMU} ${word}`).join('\n'))).toMatchObject(READ)
  })

  it('that are printed again count again', () => {
    expect(reportsOf(`${event()}\n${event()}`)).toHaveLength(2)
  })

  it('of a number that the manual does not have are told by it', () => {
    expect(reportOfText(event('event 0x3f received:', ['0x00000a000000003f', ...WORDS.slice(1)]))).toMatchObject({
      kind: 'other',
      code: 0x3f,
      name: 'event 0x3f',
      address: null,
    })
  })
})

describe('SMMUv3 queues', () => {
  it.each([
    ['0x01000022', 'Illegal command', 'command-error', 'CERROR_ILL'],
    ['0x02000022', 'Abort on command fetch', 'command-error', 'CERROR_ABT'],
    ['0x0302bb84', 'ATC invalidate timeout', 'invalidation-timeout', 'CERROR_ATC_INV_SYNC'],
  ])('cons %s: %s, announced by a global error', (cons, text, kind, name) => {
    const log = `${SMMU} unexpected global error reported (0x00000001), this could be serious\n${SMMU} CMDQ error (cons ${cons}): ${text}`
    const report = reportOfText(log)
    expect(report).toMatchObject({ kind, name, code: null, device: null })
    expect(report.fields).toMatchObject({ gerror: '0x00000001', gerror_flags: ['CMDQ_ERR'], cmdq_cons: cons })
    expect(reportsOf(`${log}\n${log}`)).toHaveLength(2)
  })

  it('keep the command that was skipped', () => {
    const log = `${SMMU} CMDQ error (cons 0x01000022): Illegal command\n${SMMU} skipping command in error state:\n${SMMU} 0x0000000000000046\n${SMMU} 0x0000000000000001`
    expect(reportOfText(log).fields.command).toEqual(['0x0000000000000046', '0x0000000000000001'])
  })

  it('a global error alone is told by its bits', () => {
    const log = `${SMMU} unexpected global error reported (0x00000004), this could be serious\n${SMMU} EVTQ write aborted -- events may have been lost`
    expect(reportOfText(log)).toMatchObject({ kind: 'other', name: 'EVENTQ_ABT_ERR' })
  })

  it('time-outs have their positions, also of older kernels, which print none', () => {
    const report = reportOfText(`${SMMU} CMD_SYNC timeout at 0x00000017 [hwprod 0x00000019, hwcons 0x00000016]`)
    expect(report).toMatchObject({ kind: 'command-timeout', name: 'CMD_SYNC timeout' })
    expect(report.fields).toEqual({ position: '0x17', hwprod: '0x19', hwcons: '0x16' })
    expect(reportOfText(`${SMMU} CMD_SYNC timeout`)).toMatchObject({ kind: 'command-timeout', fields: {} })
  })

  it('page requests that nobody handles', () => {
    const log = `${SMMU} unexpected PRI request received:\n${SMMU} sid 0x00000a00.0x00005: [12L] unprivileged RW access at iova 0x00007f0000001000`
    expect(reportOfText(log)).toMatchObject({
      kind: 'page-request',
      device: 'sid:0xa00',
      pasid: 5,
      access: 'write',
      address: '0x7f0000001000',
    })
  })
})
