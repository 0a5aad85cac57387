#!lua flags=allow-oom
-- history | keys: counts counting | edges: none
--
-- Reads what attempts came to, per span of time up to now.
-- ARGV: now, span (m, t, h, d: see counts.lua), how many, tasks (1: by task), and of by task a name:
--   that task alone ("": all)
-- Reply: now, the number of the first span, a text per span as `counts` has it ("" for none), the
--   open minute's counters and counts in turn

local now, span, most = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local length, size = unpack(SPANS[span])
local numbers, slots = {}, {}
local first = math.min(most, size)
for place = 1, first do
  local number, slot = slot_of(span, now - (first - place) * length)
  numbers[#numbers + 1] = number
  slots[#slots + 1] = ARGV[4] == '1' and slot .. ' tasks' or slot
end
local texts = redis.call('HMGET', counts, unpack(slots))
local wanted = ARGV[5]
local function told_of(text)
  local from = string.find(text, '\n' .. wanted .. ' ', 1, true)
  if not from then return '' end
  local to = string.find(text, '\n', from + 1, true) or #text + 1
  return string.match(text, '^%d+') .. string.sub(text, from, to - 1)
end
for i, text in ipairs(texts) do
  if not text or string.match(text, '^%d+') ~= numbers[i] then texts[i] = ''
  elseif wanted ~= '' then texts[i] = told_of(text) end
end
local open = {}
for field, value in pairs(open_minute()) do
  if wanted == '' or field == '@' or string.match(field, '^%w+ (.*)$') == wanted then
    open[#open + 1], open[#open + 2] = field, value
  end
end
return { now, tonumber(numbers[1]), texts, open }
