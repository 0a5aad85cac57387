#!lua flags=allow-oom
-- rights | keys: meta | edges: none
--
-- Which commands its user may not send. Touches nothing: the keys in ARGV are only names.
-- ARGV: commands with arguments, separated by spaces
-- Reply: the places in ARGV (from 0) of those that are not allowed

local missing = {}
for i, command in ipairs(ARGV) do
  local words = {}
  for word in string.gmatch(command, '%S+') do words[#words + 1] = word end
  local known, allowed = pcall(redis.acl_check_cmd, unpack(words))
  if known and not allowed then missing[#missing + 1] = i - 1 end
end
return missing
