#!lua
-- tick | keys: jobs live ready running scheduled retrying waiting cancels wake timer meta asks locks lapses limits gated turns ticks tick_log pauses events | edges: new->ready
--
-- Fires due ticks of schedules: each once, whoever asks for it and how often. No flag: a full
-- Redis refuses the call before anything is written, as it refuses any new job.
-- ARGV: now, then per tick (at most 100, those of a schedule in order): schedule, due, at, overlap,
--   missed, and its job as enqueue takes it, with due 0
--   at: when it may be fired; due: 0 is a run by hand, which moves no schedule on; overlap: skip,
--   queue, replace, or "" for a tick that is given up, without a job; missed: how many ticks were
--   given up with or before this one
-- Reply: now, then per tick a letter and its schedule's record, without its pause:
--   N fired, E dealt with before, O skipped because the job of the last tick has not ended,
--   K skipped because an operator said so, M given up; nothing was written for T too early,
--   P paused, R the last tick's job is to be cancelled first. Other letters are enqueue's: E, U.
-- Sending the call again fires nothing twice: a record never goes back, nor is an id overwritten.

local LOG = 2048 -- bytes kept of what became of a schedule's ticks
local WIDTH = 5 + PER

local now = clock(ARGV[1])
local names = {}
for i = 2, #ARGV, WIDTH do names[#names + 1] = ARGV[i] end
local raw = redis.call('HMGET', ticks, unpack(names))
local old = redis.call('HMGET', tick_log, unpack(names))
local records, lines, last, over = {}, {}, {}, {}
for i, name in ipairs(names) do
  if not records[name] then
    records[name] = read_ticked(raw[i])
    lines[name] = old[i] or ''
    local flags = records[name].flags
    pause_of(records[name], name, now)
    over[name] = records[name].flags ~= flags
    if records[name].id ~= '' then last[#last + 1] = records[name].id end
  end
end
local open = {} -- id of the last tick's job -> it has not ended
if #last > 0 then
  for _, set in ipairs({ waiting, scheduled, ready, running, retrying }) do
    for i, score in ipairs(redis.call('ZMSCORE', set, unpack(last))) do
      if score then open[last[i]] = set end
    end
  end
end

local letters, drafts, stopped, newest = {}, {}, {}, {}
for i, name in ipairs(names) do
  local at = 2 + (i - 1) * WIDTH
  local due, overlap = tonumber(ARGV[at + 1]), ARGV[at + 3]
  local r = records[name]
  local id = newest[name] or r.id
  local letter = 'N'
  if due == 0 then
    letter = 'N'
  elseif due <= r.last then
    letter = 'E'
  elseif stopped[name] or tonumber(ARGV[at + 2]) > now then
    letter = 'T'
  elseif r.flags % 2 == 1 then
    letter = 'P'
  elseif overlap == '' then
    letter = 'M'
  elseif r.flags >= 2 then
    letter = 'K'
  elseif overlap == 'skip' and open[id] then
    letter = 'O'
  elseif overlap == 'replace' and open[id]
    and (open[id] ~= running or redis.call('HEXISTS', cancels, id) == 0) then
    letter = 'R'
  end
  letters[i] = letter
  if letter == 'T' or letter == 'P' or letter == 'R' then
    stopped[name] = true
  elseif letter ~= 'E' and due > 0 then
    r.last, r.tick = due, due
    if letter == 'K' then r.flags = r.flags - 2 end
  end
  if letter == 'N' then
    for part = at + 5, at + WIDTH - 1 do drafts[#drafts + 1] = ARGV[part] end
    if due > 0 then
      newest[name] = ARGV[at + 5]
      open[ARGV[at + 5]] = ready
    end
  end
end

local taken = #drafts > 0 and take_in(now, drafts, 1) or {}
local reply, changed = { now }, {}
local place = 0
for i, name in ipairs(names) do
  local at = 2 + (i - 1) * WIDTH
  local due, missed, letter = ARGV[at + 1], tonumber(ARGV[at + 4]), letters[i]
  local r = records[name]
  local detail = r.id
  if letter == 'N' then
    place = place + 1
    letter, detail = taken[place], ARGV[at + 5]
    if letter == 'N' and due ~= '0' then r.id = detail end
  end
  if letters[i] ~= 'E' and letters[i] ~= 'T' and letters[i] ~= 'P' and letters[i] ~= 'R' then
    local line = ''
    if missed > 0 then line = due .. ' ' .. now .. ' M ' .. missed .. '\n' end
    if letter ~= 'M' then
      line = line .. (due == '0' and now or due) .. ' ' .. now .. ' '
        .. ((due == '0' and letter == 'N') and 'H' or letter) .. ' ' .. detail .. '\n'
    end
    lines[name] = lines[name] .. line
    changed[name] = true
  end
  reply[#reply + 1] = letter
  reply[#reply + 1] = pack_ticked(r)
end

local packed, kept, ended = {}, {}, {}
for name in pairs(changed) do
  if over[name] then ended[#ended + 1] = name end
  local text = lines[name]
  if #text > LOG then text = string.sub(text, (string.find(text, '\n', #text - LOG, true)) + 1) end
  packed[#packed + 1] = name
  packed[#packed + 1] = pack_ticked(records[name])
  kept[#kept + 1] = name
  kept[#kept + 1] = text
end
send('HSET', ticks, packed)
send('HSET', tick_log, kept)
send('HDEL', pauses, ended)
return reply
