import { describe, expect, it } from 'vitest'
import { reportOfText, reportsOf } from './logs.suite.ts'

const SMMU = 'arm-smmu 2000000.iommu:'

describe('SMMUv2 context faults', () => {
  it('in a line, with StreamID or without', () => {
    const report = reportOfText(
      `${SMMU} Unhandled context fault: fsr=0x402, iova=0xfffe1000, fsynr=0x50011, cbfrsynra=0xa00, cb=3`,
    )
    expect(report).toMatchObject({
      kind: 'dma-fault',
      device: 'sid:0xa00',
      address: '0xfffe1000',
      access: 'write',
      code: 0x402,
      name: 'Translation fault',
    })
    expect(report.fields).toMatchObject({ cb: 3, fsr_flags: ['TF'], format: 'AArch64', level: 1, s1cbndx: 5, privileged: false })
    const older = reportOfText(`${SMMU} Unhandled context fault: fsr=0x402, iova=0xfffe1000, fsynr=0x11, cb=3`)
    expect(older).toMatchObject({ device: null, address: '0xfffe1000', access: 'write' })
    expect(reportOfText(`${SMMU} Unhandled context fault: iova=0xfffe1000, fsynr=0x1, cb=0`)).toMatchObject({
      code: null,
      access: 'read',
    })
  })

  it('are one report with the registers that newer kernels decode', () => {
    const log = `${SMMU} Unhandled context fault: fsr=0x402, iova=0xfffe1000, fsynr=0x3d0003, cbfrsynra=0x1004, cb=33
${SMMU} FSR    = 00000402 [Format=2 TF], SID=0x1004
${SMMU} FSYNR0 = 003d0003 [S1CBNDX=61 PLVL=3]`
    expect(reportsOf(`${log}\n${log}`)).toHaveLength(2)
    expect(reportOfText(log)).toMatchObject({ device: 'sid:0x1004', access: 'read', code: 0x402 })
  })

  it('register by register, as vendor kernels print them', () => {
    const log = `${SMMU} Unhandled arm-smmu context fault from a600000.usb!
${SMMU} FAR    = 0x00000000efe60800
${SMMU} PAR    = 0x0000000000000000
${SMMU} FSR    = 0x40000408 [PF W SS ]
${SMMU} FSYNR0    = 0x5f0013
${SMMU} context bank#    = 0x1b
${SMMU} SID    = 0x840`
    const report = reportOfText(log)
    expect(report).toMatchObject({
      device: 'sid:0x840',
      address: '0xefe60800',
      access: 'write',
      code: 0x40000408,
      name: 'Permission fault',
    })
    expect(report.fields).toMatchObject({ client: 'a600000.usb', cb: 27, fsr_flags: ['SS', 'PF'] })
  })

  it.each([
    ['0x80000402', 'Translation fault', ['MULTI', 'TF']],
    ['0x404', 'Access flag fault', ['AFF']],
    ['0x408', 'Permission fault', ['PF']],
    ['0x410', 'External fault', ['EF']],
    ['0x480', 'Address size fault', ['ASF']],
    ['0x80000000', null, ['MULTI']],
  ])('FSR %s', (fsr, name, flags) => {
    const report = reportOfText(`${SMMU} Unhandled context fault: fsr=${fsr}, iova=0x1000, fsynr=0x0, cbfrsynra=0x1, cb=0`)
    expect(report).toMatchObject({ name, code: Number(fsr), fields: { fsr_flags: flags } })
  })
})

describe('SMMUv2 global faults', () => {
  const dump = (gfsr: string) => `${SMMU} \tGFSR ${gfsr}, GFSYNR0 0x00000002, GFSYNR1 0x00000a00, GFSYNR2 0x00000000`

  it('are one report with the line that announces them; each register dump is one', () => {
    const log = `${SMMU} Unexpected global fault, this could be serious\n${dump('0x00000001')}\n${dump('0x80000000')}`
    expect(reportsOf(log)).toMatchObject([
      { kind: 'global-fault', device: 'sid:0xa00', access: 'write', code: 1, name: 'Invalid context fault' },
      { code: 0x80000000, name: null, fields: { gfsr_flags: ['MULTI'] } },
    ])
  })

  it('of unknown streams, wrapped', () => {
    const log = `> ${SMMU} Blocked unknown Stream ID 0xa00; boot with
> "arm-smmu.disable_bypass=0" to allow, but this may have security implications
> ${SMMU} GFSR 0x00000002, GFSYNR0 0x00000002,
> GFSYNR1 0x00000a00, GFSYNR2 0x00000000`
    expect(reportOfText(log)).toMatchObject({ device: 'sid:0xa00', code: 2, name: 'Unidentified stream fault' })
  })

  it('without their registers are told as far as they go', () => {
    expect(reportOfText(`${SMMU} Blocked unknown Stream ID 0xa00; boot with "arm-smmu.disable_bypass=0" to allow`)).toMatchObject(
      {
        kind: 'global-fault',
        device: 'sid:0xa00',
        code: null,
        name: 'Unidentified stream fault',
      },
    )
    expect(reportOfText(`${SMMU} Unexpected global fault, this could be serious`)).toMatchObject({ device: null, code: null })
  })
})
